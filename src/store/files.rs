//! File operations on a volume by name.

use super::layout::data_path;
use super::{Opened, Store};
use crate::content::{OpenedFile, Quota, Tree, WriteOptions, WriteRules};
use crate::error::{Error, ErrorKind, Result};
use crate::model::{Cancel, VolumeName, VolumeRecord};
use nix::errno::Errno;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

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

impl Opened {
    /// Lets one writer of a volume work at a time: in this process in a queue, among processes by a lock.
    fn in_turn<T>(&self, name: &VolumeName, cancel: &Cancel, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(name.clone()).or_default().clone()
        };
        let _in_this_process = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let _among_processes = self.layout.lock_quota(name, cancel)?;
        work()
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

    /// Whether a write has to measure the volume first.
    pub fn has_quota(&self) -> Result<bool> {
        Ok(self.record(self.store.opened()?.as_ref())?.quota_mib.is_some())
    }

    /// Writes a whole file.
    pub fn write(&self, path: &str, content: &[u8], options: WriteOptions, cancel: &Cancel) -> Result<()> {
        let opened = self.store.opened()?;
        let quota_mib = self.record(&opened)?.quota_mib;
        let rules = WriteRules { staging: &opened.layout.staging, quota: Quota::mib(quota_mib) };
        let write = || self.tree(&opened)?.write(path, content, options, &rules, cancel);
        match quota_mib {
            // From measuring to writing, nobody else may use up what was found free.
            Some(_) => opened.in_turn(&self.name, cancel, write),
            None => write(),
        }
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

    fn record(&self, opened: &Opened) -> Result<VolumeRecord> {
        let record = opened.catalog.read(|catalog| catalog.volume(&self.name))?;
        record.ok_or_else(|| Error::volume_not_found(self.name.as_str()))
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
