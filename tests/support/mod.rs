//! A throw-away home with an open store.

use sandbox_volumes::model::{VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
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
}

pub fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}
