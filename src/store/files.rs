//! File operations on a volume by name.

use super::layout::data_path;
use super::{Opened, Store};
use crate::content::{OpenedFile, Quota, Tree, WriteOptions, WriteRules};
use crate::error::{Error, Result};
use crate::model::{Cancel, VolumeName};
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

    /// Looks up what a write has to know.
    pub fn prepare_write(&self) -> Result<PreparedWrite> {
        let opened = self.store.opened()?;
        let quota_mib = opened.volume(&self.name)?.quota_mib;
        Ok(PreparedWrite { files: self.clone(), opened, quota_mib })
    }

    /// Writes a whole file.
    pub fn write(&self, path: &str, content: &[u8], options: WriteOptions, cancel: &Cancel) -> Result<()> {
        self.prepare_write()?.write(path, content, options, cancel)
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
        let dir = match opened.layout.volumes.open_child(self.name.as_str()) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => {
                return Err(Error::volume_not_found(self.name.as_str()));
            }
            opened => opened?,
        };
        Ok(Tree::new(self.name.clone(), dir.try_clone()?))
    }
}

/// A write that may be carried out on another thread, which one of a volume with a quota should be: it measures
/// the volume, and waits for its turn.
#[derive(Debug)]
pub struct PreparedWrite {
    files: VolumeFiles,
    opened: Arc<Opened>,
    quota_mib: Option<u32>,
}

impl PreparedWrite {
    /// Whether the volume has a quota.
    pub fn has_quota(&self) -> bool {
        self.quota_mib.is_some()
    }

    /// Writes a whole file.
    pub fn write(&self, path: &str, content: &[u8], options: WriteOptions, cancel: &Cancel) -> Result<()> {
        let (files, opened) = (&self.files, &self.opened);
        let rules = WriteRules { staging: &opened.layout.staging, quota: Quota::mib(self.quota_mib) };
        let write = || files.tree(opened)?.write(path, content, options, &rules, cancel);
        match self.has_quota() {
            // From measuring to writing, nobody else may use up what was found free.
            true => opened.in_turn(&files.name, cancel, write),
            false => write(),
        }
    }
}
