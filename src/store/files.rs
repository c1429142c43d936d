//! File operations on a volume by name.

use super::layout::data_path;
use super::{Opened, Store};
use crate::content::{AppendOptions, OpenedFile, Quota, Tree, WriteOptions, WriteRules};
use crate::error::{Error, Result};
use crate::model::{Cancel, VolumeKind, VolumeName, field};
use crate::sys::identity;
use nix::errno::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// How many directories are remembered as those of directory volumes.
const MOST_KNOWN: usize = 4096;

/// The files of one volume. It holds no descriptor between calls: each finds the volume anew, so one that was
/// removed is not found, and nothing brings it back.
#[derive(Clone, Debug)]
pub struct VolumeFiles {
    pub(super) store: Arc<Store>,
    pub(super) name: VolumeName,
    root: PathBuf,
}

impl Store {
    /// The files of the volume of that name.
    pub fn files(self: &Arc<Self>, name: &VolumeName) -> VolumeFiles {
        VolumeFiles { store: self.clone(), name: name.clone(), root: data_path(&self.home, name) }
    }
}

impl Opened {
    /// Refuses the files of a disk volume, which are those of its inner file system. The catalog is asked once for
    /// each directory, which its number and time of birth tell from every later one of that name.
    fn refuse_disk_volume(&self, name: &VolumeName, root: &File) -> Result<()> {
        let identity = identity(root).map_err(|error| Error::file_system("stat", ".", error))?;
        let known = || self.directories.lock().unwrap_or_else(PoisonError::into_inner);
        if identity.is_some_and(|identity| known().contains(&identity)) {
            return Ok(());
        }
        if self.volume(name)?.kind == VolumeKind::Disk {
            let problem = format!(
                "volume \"{name}\" is a disk, whose files are reached in the guest that mounts it; \"fs()\" works \
                 on volumes of kind \"dir\""
            );
            return Err(Error::invalid_config(field::KIND, problem).in_volume(name.as_str()));
        }
        if let Some(identity) = identity {
            let mut known = known();
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
            known.insert(identity);
        }
        Ok(())
    }

    /// Lets one writer of a volume work at a time: in this process in a queue, among processes by a lock.
    pub(super) fn in_turn<T>(
        &self,
        name: &VolumeName,
        cancel: &Cancel,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let deadline = cancel.may_wait_until();
        self.turns.take(name, deadline, cancel, || self.layout.lock_quota(name, deadline, cancel), work)
    }
}

impl VolumeFiles {
    /// The data directory's absolute path on the host.
    pub fn root(&self) -> &PathBuf {
        &self.root
    }

    /// See [`Store::queue_of`].
    pub fn queue(&self) -> String {
        self.store.queue_of(&self.name)
    }

    /// Opens a regular file for reading.
    pub fn open(&self, path: impl AsRef<OsStr>) -> Result<OpenedFile> {
        self.tree(self.store.opened()?.as_ref())?.open_file(path)
    }

    /// Looks up what a write has to know.
    pub fn prepare_write(&self) -> Result<PreparedWrite> {
        let opened = self.store.opened()?;
        let quota_mib = opened.volume(&self.name)?.quota_mib;
        Ok(PreparedWrite { files: self.clone(), opened, quota_mib })
    }

    /// Writes a whole file.
    pub fn write(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        cancel: &Cancel,
    ) -> Result<()> {
        self.prepare_write()?.write(path, content, options, cancel)
    }

    /// Makes a directory and what is missing above it.
    pub fn mkdir(&self, path: impl AsRef<OsStr>, cancel: &Cancel) -> Result<()> {
        self.prepare_write()?.mkdir(path, cancel)
    }

    /// Removes one entry.
    pub fn remove(&self, path: impl AsRef<OsStr>, cancel: &Cancel) -> Result<()> {
        let tree = self.tree(self.store.opened()?.as_ref())?;
        cancel.commit()?;
        tree.remove(path)
    }

    /// Removes an entry and everything below it.
    pub fn remove_all(&self, path: impl AsRef<OsStr>, cancel: &Cancel) -> Result<()> {
        let tree = self.tree(self.store.opened()?.as_ref())?;
        cancel.commit()?;
        tree.remove_all(path)
    }

    /// Whether something is there.
    pub fn exists(&self, path: impl AsRef<OsStr>) -> Result<bool> {
        self.tree(self.store.opened()?.as_ref())?.exists(path)
    }

    pub(super) fn tree(&self, opened: &Opened) -> Result<Tree> {
        let dir = match opened.layout.volumes.open_child(self.name.as_str()) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => {
                return Err(Error::volume_not_found(self.name.as_str()));
            }
            opened => opened?,
        };
        let root = File::from(dir.try_clone()?);
        opened.refuse_disk_volume(&self.name, &root)?;
        Ok(Tree::new(self.name.clone(), root.into()).in_turns(&opened.turns))
    }
}

/// A write that may be carried out on another thread, which one of a volume with a quota should be: it waits for
/// its turn, and may have to measure the volume.
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
    pub fn write(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        cancel: &Cancel,
    ) -> Result<()> {
        self.in_turn(cancel, || self.write_now(path, content, options, cancel))
    }

    /// The same, unless it would take longer than writing does: because it is not our turn, or the volume has to be
    /// measured. Then it gives none, and nothing was written.
    pub fn try_write(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        cancel: &Cancel,
    ) -> Result<Option<()>> {
        let write = || self.write_now(path, content, options, cancel);
        let (turns, layout, name) = (&self.opened.turns, &self.opened.layout, &self.files.name);
        match self.has_quota() {
            true => turns.try_take(name, || layout.try_lock_quota(name), write),
            false => write().map(Some),
        }
    }

    fn write_now(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        cancel: &Cancel,
    ) -> Result<()> {
        let rules = WriteRules { staging: &self.opened.layout.staging, quota: Quota::mib(self.quota_mib) };
        self.files.tree(&self.opened)?.write(path, content, options, &rules, cancel)
    }

    /// Makes a directory and what is missing above it.
    pub fn mkdir(&self, path: impl AsRef<OsStr>, cancel: &Cancel) -> Result<()> {
        let quota = Quota::mib(self.quota_mib);
        self.in_turn(cancel, || self.files.tree(&self.opened)?.mkdir(path, quota, cancel))
    }

    fn in_turn(&self, cancel: &Cancel, write: impl FnOnce() -> Result<()>) -> Result<()> {
        match self.has_quota() {
            // From being admitted to having written, nobody else may use up what was found free.
            true => self.opened.in_turn(&self.files.name, cancel, write),
            false => write(),
        }
    }

    /// Adds to the end of a file.
    pub fn append(
        &self,
        path: impl AsRef<OsStr>,
        data: &[u8],
        options: AppendOptions,
        cancel: &Cancel,
    ) -> Result<()> {
        let (files, opened) = (&self.files, &self.opened);
        let append = || files.tree(opened)?.append(path, data, options, Quota::mib(self.quota_mib), cancel);
        match self.has_quota() {
            true => opened.in_turn(&files.name, cancel, append),
            false => append(),
        }
    }
}
