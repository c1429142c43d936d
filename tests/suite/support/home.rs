//! A throw-away home with an open store.

use sandbox_volumes::error::Error;
use sandbox_volumes::model::{Labels, VolumeName, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Attachment, Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tempfile::TempDir;

/// A home in a temporary directory, deleted with it.
pub struct Home {
    pub store: Arc<Store>,
    dir: TempDir,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Home { store: Arc::new(Store::open(dir.path(), Durability::Full).unwrap()), dir }
    }

    /// The path of what is at `below` in the home; the home itself for an empty one.
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    /// Creates a volume without options and gives its directory.
    pub fn create(&self, volume: &str) -> PathBuf {
        let spec = VolumeSpec::from_options(&[]).unwrap();
        self.store.create(&name(volume), &spec, &CancelToken::default()).unwrap().path
    }

    /// Creates a disk volume with `DiskVolumeOptions` but for its kind, and gives its image.
    pub fn create_disk(&self, volume: &str, options: Value) -> Result<PathBuf, Error> {
        let spec = VolumeSpec::from_options(&[json!({ "kind": "disk" }).into(), options.into()])?;
        self.store.create(&name(volume), &spec, &CancelToken::default()).map(|created| created.path)
    }

    /// Attaches to a sandbox that belongs to this process, at `/0`, `/1` and so on.
    pub fn attach(&self, sandbox: &str, mounts: &[MountConfig]) -> Result<Attachment, Error> {
        self.attach_for(sandbox, mounts, None)
    }

    /// Attaches to a sandbox of another process.
    pub fn attach_for(
        &self,
        sandbox: &str,
        mounts: &[MountConfig],
        pid: Option<u32>,
    ) -> Result<Attachment, Error> {
        let entries = mounts.iter().enumerate().map(|(at, mount)| (format!("/{at}"), mount.clone()));
        let mounts = validate_and_order(entries.collect()).unwrap();
        self.store.attach(sandbox, &mounts, pid, &CancelToken::default())
    }

    /// Attaches to a sandbox that belongs to this process, at these guest paths.
    pub fn attach_at(&self, mounts: &[(&str, MountConfig)]) -> Result<Attachment, Error> {
        attach_at(&self.store, mounts)
    }

    /// The names of all volumes, sorted.
    pub fn volumes(&self) -> Vec<String> {
        let listed = self.store.list(&Labels::default(), &CancelToken::default()).unwrap();
        let mut names: Vec<_> = listed.into_iter().map(|volume| volume.record.name.to_string()).collect();
        names.sort();
        names
    }

    /// How many intents the catalog has.
    pub fn intents(&self) -> i64 {
        let catalog = rusqlite::Connection::open(self.path("db/volumes.db")).unwrap();
        catalog.query_row("SELECT count(*) FROM intent", (), |row| row.get(0)).unwrap()
    }
}

pub fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

/// Attaches to a sandbox that belongs to this process, at these guest paths.
pub fn attach_at(store: &Store, mounts: &[(&str, MountConfig)]) -> Result<Attachment, Error> {
    let entries = mounts.iter().map(|(path, mount)| ((*path).to_owned(), mount.clone()));
    store.attach("worker", &validate_and_order(entries.collect()).unwrap(), None, &CancelToken::default())
}
