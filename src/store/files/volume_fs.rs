//! File operations on a volume by name.

use super::root_cache::CachedRoot;
use crate::error::{Error, Result};
use crate::model::{VolumeKind, VolumeName, VolumeRecord, VolumeRef, option_names};
use crate::store::layout::data_path;
use crate::store::{Store, StoreHandle};
use crate::sync::CancelToken;
use crate::sys::FileId;
use crate::volume_fs::{
    AppendOptions, OpenedFile, Quota, Removal, VolumeRoot, WriteOptions, WriteRules, is_lease, past_leases,
};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// How often a volume's root is opened again if another directory takes its place at that moment.
const MAX_OPEN_ATTEMPTS: usize = 64;

/// The files of one volume. Each call looks at the volume anew, so one that was removed is not found, and nothing
/// brings it back; one of the same name is another, unless the name alone is what was asked for.
#[derive(Clone, Debug)]
pub struct VolumeFs {
    pub(crate) store: Arc<Store>,
    pub(crate) volume: VolumeRef,
    root: PathBuf,
}

impl Store {
    /// The files of the volume that is meant: of a name, whichever volume has it when a file is asked for.
    pub fn files(self: &Arc<Self>, volume: impl Into<VolumeRef>) -> VolumeFs {
        let volume = volume.into();
        let root = data_path(&self.home, &volume.name);
        VolumeFs { store: self.clone(), volume, root }
    }
}

impl StoreHandle {
    /// Refuses the files of a disk volume, which are those of its inner file system.
    fn refuse_disk_volume(&self, volume: &VolumeRecord) -> Result<()> {
        if volume.kind == VolumeKind::Disk {
            let name = &volume.name;
            let problem = format!(
                "volume \"{name}\" is a disk, whose files are reached in the guest that mounts it; \"fs()\" works \
                 on volumes of kind \"dir\""
            );
            return Err(Error::invalid_config(option_names::KIND, problem).in_volume(name.as_str()));
        }
        Ok(())
    }

    /// Lets one writer of a volume work at a time: in this process in a queue, among processes by a lock.
    pub(crate) fn in_turn<T>(
        &self,
        name: &VolumeName,
        cancel: &CancelToken,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let deadline = cancel.may_wait_until();
        self.turns.take(name, deadline, cancel, || self.lock_quota(name, deadline, cancel), work)
    }
}

impl VolumeFs {
    /// The data directory's absolute path on the host.
    pub fn root(&self) -> &PathBuf {
        &self.root
    }

    /// See [`Store::queue_of`].
    pub fn queue(&self) -> String {
        self.store.queue_of(&self.volume.name)
    }

    /// Opens a regular file for reading.
    pub fn open(&self, path: impl AsRef<OsStr>) -> Result<OpenedFile> {
        self.open_with(path, &CancelToken::default())
    }

    /// The same, so that waiting for the holder of a lease can be cancelled.
    pub fn open_with(&self, path: impl AsRef<OsStr>, cancel: &CancelToken) -> Result<OpenedFile> {
        past_leases(cancel, || self.open_once(&path))
    }

    /// The same, but fails with `EAGAIN` if a guest holds a lease on the file: see [`LeaseWait`].
    ///
    /// [`LeaseWait`]: crate::volume_fs::LeaseWait
    pub fn open_once(&self, path: impl AsRef<OsStr>) -> Result<OpenedFile> {
        self.tree()?.open_file(path)
    }

    /// Looks up what a write has to know.
    pub fn prepare_write(&self) -> Result<WriteSession> {
        self.prepare_write_in(self.store.opened()?)
    }

    /// The same in a home that was opened.
    pub(crate) fn prepare_write_in(&self, opened: Arc<StoreHandle>) -> Result<WriteSession> {
        let quota_mib = opened.volume(&self.volume)?.quota_mib;
        Ok(WriteSession { files: self.clone(), opened, quota_mib })
    }

    /// Writes a whole file.
    pub fn write(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        cancel: &CancelToken,
    ) -> Result<()> {
        self.prepare_write()?.write(path, content, options, cancel)
    }

    /// Makes a directory and what is missing above it.
    pub fn mkdir(&self, path: impl AsRef<OsStr>, cancel: &CancelToken) -> Result<()> {
        self.prepare_write()?.mkdir(path, cancel)
    }

    /// Removes one entry.
    pub fn remove(&self, path: impl AsRef<OsStr>, cancel: &CancelToken) -> Result<()> {
        let tree = self.tree()?;
        cancel.commit()?;
        tree.remove(path)
    }

    /// Removes an entry and everything below it.
    pub fn remove_all(&self, path: impl AsRef<OsStr>, cancel: &CancelToken) -> Result<()> {
        let tree = self.tree()?;
        cancel.commit()?;
        tree.remove_all(path)
    }

    /// Prepares the same, to be removed in slices.
    pub fn prepare_remove_all(
        &self,
        path: impl AsRef<OsStr>,
        cancel: &CancelToken,
    ) -> Result<PreparedRemoval> {
        let tree = self.tree()?;
        cancel.commit()?;
        Ok(PreparedRemoval { removal: tree.begin_remove_all(path)?, volume: self.volume.name.clone() })
    }

    /// Whether something is there.
    pub fn exists(&self, path: impl AsRef<OsStr>) -> Result<bool> {
        self.tree()?.exists(path)
    }

    /// The volume's tree, for what needs nothing else of the store.
    pub(crate) fn tree(&self) -> Result<VolumeRoot> {
        match self.store.opened_before().trees.at(&self.volume, &self.root)? {
            Some(tree) => Ok(tree),
            None => self.tree_of(self.store.opened()?.as_ref()),
        }
    }

    pub(crate) fn tree_of(&self, opened: &StoreHandle) -> Result<VolumeRoot> {
        if let Some(tree) = opened.trees.at(&self.volume, &self.root)? {
            return Ok(tree);
        }
        for _ in 0..MAX_OPEN_ATTEMPTS {
            if let Some(tree) = self.try_open_tree(opened)? {
                return Ok(tree);
            }
        }
        let busy = Error::file_system("open", ".", Errno::EBUSY.into());
        Err(busy.in_volume(self.volume.name.as_str()))
    }

    /// Opens the volume's root. Returns `None` if another directory was put in its place meanwhile.
    fn try_open_tree(&self, opened: &StoreHandle) -> Result<Option<VolumeRoot>> {
        let (volumes, name) = (&opened.layout.volumes, &self.volume.name);
        let open = || match volumes.open_child(name.as_str()) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => Ok(None),
            opened => opened.map(Some),
        };
        let dir = match open()? {
            Some(dir) => dir,
            // Where a dead process left an intent, this settles it, which may put the directory back in its place.
            None => opened
                .volume(&self.volume)
                .and_then(|_| open()?.ok_or_else(|| Error::volume_not_found(name.as_str())))?,
        };
        let volume = opened.volume(&self.volume)?;
        opened.refuse_disk_volume(&volume)?;
        // TOCTOU: the volume may have been removed and made again since its directory was opened. One that stands there
        // before and after its record was read is that volume's: no later one has its number while it is open.
        if !volumes.is_entry(name.as_str(), dir.as_fd())? {
            return Ok(None);
        }
        let root = FileId::of_open(dir.as_fd()).map_err(|error| Error::file_system("stat", ".", error))?;
        let tree = VolumeRoot::new(name.clone(), dir.try_clone()?).in_turns(&opened.turns);
        opened.trees.hold(name, CachedRoot { tree: tree.clone(), root, volume: volume.identity });
        Ok(Some(tree))
    }
}

/// The removal of an entry and everything below it.
#[derive(Debug)]
pub struct PreparedRemoval {
    removal: Option<Removal>,
    volume: VolumeName,
}

impl PreparedRemoval {
    /// Removes on until everything is gone, or with `until` to about that time; returns whether everything is gone.
    pub fn go_on(&mut self, until: Option<Instant>) -> Result<bool> {
        let gone = self.removal.as_mut().map_or(Ok(true), |removal| removal.go_on(until));
        gone.map_err(|error| error.in_volume(self.volume.as_str()))
    }
}

/// A write that may be carried out on another thread, which one of a volume with a quota should be: it waits for
/// its turn, and may have to measure the volume.
#[derive(Clone, Debug)]
pub struct WriteSession {
    pub(crate) files: VolumeFs,
    pub(crate) opened: Arc<StoreHandle>,
    pub(crate) quota_mib: Option<u32>,
}

impl WriteSession {
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
        cancel: &CancelToken,
    ) -> Result<()> {
        past_leases(cancel, || self.write_once(&path, content, options, cancel))
    }

    /// The same, but fails with `EAGAIN` if a guest holds a lease on the file: see [`LeaseWait`]. The volume's turn is
    /// given back then.
    ///
    /// [`LeaseWait`]: crate::volume_fs::LeaseWait
    pub fn write_once(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        cancel: &CancelToken,
    ) -> Result<()> {
        self.in_turn(cancel, || self.write_now(path, content, options, cancel))
    }

    /// The same, unless it would take longer than writing does: because another writer has the turn, because the volume
    /// has to be measured, or because a guest holds a lease on the file. Then it returns `None`, and nothing was written.
    pub fn try_write(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        cancel: &CancelToken,
    ) -> Result<Option<()>> {
        match self.try_in_turn(|| self.write_now(path, content, options, cancel)) {
            Err(error) if is_lease(&error) => Ok(None),
            written => written,
        }
    }

    fn write_now(
        &self,
        path: impl AsRef<OsStr>,
        content: &[u8],
        options: WriteOptions,
        cancel: &CancelToken,
    ) -> Result<()> {
        self.files.tree_of(&self.opened)?.write(path, content, options, &self.rules(), cancel)
    }

    /// Makes a directory and what is missing above it.
    pub fn mkdir(&self, path: impl AsRef<OsStr>, cancel: &CancelToken) -> Result<()> {
        let quota = Quota::mib(self.quota_mib);
        self.in_turn(cancel, || self.files.tree_of(&self.opened)?.mkdir(path, quota, cancel))
    }

    /// What the volume asks of who writes into it.
    pub(crate) fn rules(&self) -> WriteRules<'_> {
        WriteRules { staging: &self.opened.layout.staging, quota: Quota::mib(self.quota_mib) }
    }

    pub(crate) fn in_turn<T>(&self, cancel: &CancelToken, write: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.has_quota() {
            // From being admitted to having written, nobody else may use up what was found free.
            true => self.opened.in_turn(&self.files.volume.name, cancel, write),
            false => write(),
        }
    }

    /// The same, unless that would take long; see [`try_write`](WriteSession::try_write).
    pub(crate) fn try_in_turn<T>(&self, write: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        let (turns, layout, name) = (&self.opened.turns, &self.opened.layout, &self.files.volume.name);
        match self.has_quota() {
            true => turns.try_take(name, || layout.try_lock_quota(name), write),
            false => write().map(Some),
        }
    }

    /// Adds to the end of a file.
    pub fn append(
        &self,
        path: impl AsRef<OsStr>,
        data: &[u8],
        options: AppendOptions,
        cancel: &CancelToken,
    ) -> Result<()> {
        past_leases(cancel, || self.append_once(&path, data, options, cancel))
    }

    /// The same, but fails with `EAGAIN` if a guest holds a lease on the file.
    pub fn append_once(
        &self,
        path: impl AsRef<OsStr>,
        data: &[u8],
        options: AppendOptions,
        cancel: &CancelToken,
    ) -> Result<()> {
        let quota = Quota::mib(self.quota_mib);
        self.in_turn(cancel, || self.files.tree_of(&self.opened)?.append(path, data, options, quota, cancel))
    }
}
