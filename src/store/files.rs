//! File operations on a volume by name.

use super::layout::data_path;
use super::{Opened, Store};
use crate::content::{OpenedFile, Quota, Tree, WriteOptions, WriteRules};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Cancel, VolumeName};
use nix::errno::Errno;
use std::path::PathBuf;
use std::sync::Arc;

/// The files of one volume. It holds no descriptor between calls: each finds the volume anew, so one that was
/// removed is not found, and nothing brings it back.
#[derive(Clone, Debug)]
pub struct VolumeFiles {
    store: Arc<Store>,
    name: VolumeName,
    root: PathBuf,
}

impl Store {
    /// The files of the volume of that name.
    pub fn files(self: &Arc<Self>, name: &VolumeName) -> VolumeFiles {
        VolumeFiles { store: self.clone(), name: name.clone(), root: data_path(&self.home, name) }
    }
}

impl VolumeFiles {
    /// The data directory's absolute path on the host.
    pub fn root(&self) -> &PathBuf {
        &self.root
    }

    /// Opens a regular file for reading.
    pub fn open(&self, path: &str) -> Result<OpenedFile> {
        self.tree(self.store.opened()?.as_ref())?.open_file(path)
    }

    /// Writes a whole file.
    pub fn write(&self, path: &str, content: &[u8], options: WriteOptions, cancel: &Cancel) -> Result<()> {
        let opened = self.store.opened()?;
        let record = opened.catalog.read(|catalog| catalog.volume(&self.name))?;
        let record = record.ok_or_else(|| Error::volume_not_found(self.name.as_str()))?;
        let rules = WriteRules { staging: &opened.layout.staging, quota: Quota::mib(record.quota_mib) };
        self.tree(&opened)?.write(path, content, options, &rules, cancel)
    }

    /// Makes a directory and what is missing above it.
    pub fn mkdir(&self, path: &str, cancel: &Cancel) -> Result<()> {
        let tree = self.tree(self.store.opened()?.as_ref())?;
        cancel.commit()?;
        tree.mkdir(path)
    }

    /// Removes one entry.
    pub fn remove(&self, path: &str, cancel: &Cancel) -> Result<()> {
        let tree = self.tree(self.store.opened()?.as_ref())?;
        cancel.commit()?;
        tree.remove(path)
    }

    /// Removes an entry and everything below it.
    pub fn remove_all(&self, path: &str, cancel: &Cancel) -> Result<()> {
        let tree = self.tree(self.store.opened()?.as_ref())?;
        cancel.commit()?;
        tree.remove_all(path)
    }

    /// Whether something is there.
    pub fn exists(&self, path: &str) -> Result<bool> {
        self.tree(self.store.opened()?.as_ref())?.exists(path)
    }

    fn tree(&self, opened: &Opened) -> Result<Tree> {
        let dir = opened.layout.volumes.open_child(self.name.as_str()).map_err(|error| {
            let missing =
                error.kind() == ErrorKind::FileSystem && error.context().errno == Some(Errno::ENOENT as i32);
            if missing { Error::volume_not_found(self.name.as_str()) } else { error }
        })?;
        Ok(Tree::new(self.name.clone(), dir.try_clone()?))
    }
}
