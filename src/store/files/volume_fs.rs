//! File operations on a volume.

use super::root_cache::CachedRoot;
use crate::error::{Errno, Error, Result};
use crate::model::{
    IntoVolumePath, VolumeKind, VolumeName, VolumePath, VolumeRecord, VolumeRef, option_names,
};
use crate::store::paths::data_path;
use crate::store::{Store, StoreHandle};
use crate::sync::CancelToken;
use crate::sys::fd::AsFd;
use crate::sys::{Dir, FileId};
use crate::volume_fs::{
    AppendOptions, OpenedFile, Removal, VolumeQuota, VolumeRoot, WriteContext, WriteOptions, WriteRequest,
    is_lease_error, retry_past_leases,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// Maximum number of attempts to open a root that other directories replace.
const MAX_OPEN_ATTEMPTS: usize = 64;

/// The files of one volume. Each call looks up the volume again, so the files of a removed volume are not found.
///
/// A later volume with the same name is another volume, unless the caller asked for the name only.
#[derive(Clone, Debug)]
pub struct VolumeFs {
    pub(crate) store: Arc<Store>,
    pub(crate) volume: VolumeRef,
    root: PathBuf,
}

impl Store {
    /// Returns the files of a volume. If `volume` is only a name, each call uses the volume that has the name then.
    pub fn files(self: &Arc<Self>, volume: impl Into<VolumeRef>) -> VolumeFs {
        let volume = volume.into();
        let root = data_path(&self.home, &volume.name);
        VolumeFs { store: self.clone(), volume, root }
    }
}

impl VolumeFs {
    /// Returns the absolute path of the data directory on the host.
    pub fn root(&self) -> &PathBuf {
        &self.root
    }

    /// Returns a key that is equal for writers of the same volume. They do not wait for the operations of
    /// [`Store::queue_of`].
    pub fn queue(&self) -> String {
        format!("{}\0content", self.store.queue_of(&self.volume.name))
    }

    /// Opens a regular file for reading.
    pub fn open(&self, path: impl IntoVolumePath) -> Result<OpenedFile> {
        self.open_with(path, &CancelToken::default())
    }

    /// Opens a regular file for reading. The wait for the holder of a lease can be cancelled.
    pub fn open_with(&self, path: impl IntoVolumePath, cancel: &CancelToken) -> Result<OpenedFile> {
        let path = path.into_volume_path()?;
        retry_past_leases(cancel, || self.open_once(&path))
    }

    /// Opens a regular file for reading. Fails with `EAGAIN` if a guest holds a lease on the file: see [`LeaseWait`].
    ///
    /// [`LeaseWait`]: crate::volume_fs::LeaseWait
    pub fn open_once(&self, path: &VolumePath) -> Result<OpenedFile> {
        self.open_root()?.open_file(path)
    }

    /// Looks up the quota for a write.
    pub fn prepare_write(&self) -> Result<WriteSession> {
        self.prepare_write_in(self.store.handle()?)
    }

    /// Looks up the quota for a write in an open home.
    pub(crate) fn prepare_write_in(&self, handle: Arc<StoreHandle>) -> Result<WriteSession> {
        let quota = handle.quota_of(&handle.volume(&self.volume)?);
        Ok(WriteSession { files: self.clone(), handle, quota })
    }

    /// Writes a whole file.
    pub fn write(
        &self,
        path: impl IntoVolumePath,
        content: &[u8],
        options: WriteOptions,
        cancel: &CancelToken,
    ) -> Result<()> {
        let request = WriteRequest::whole(path, options)?;
        self.prepare_write()?.write(&request, content, cancel)
    }

    /// Appends data to a file.
    pub fn append(
        &self,
        path: impl IntoVolumePath,
        data: &[u8],
        options: AppendOptions,
        cancel: &CancelToken,
    ) -> Result<()> {
        let request = WriteRequest::append(path, options)?;
        self.prepare_write()?.write(&request, data, cancel)
    }

    /// Creates a directory and its missing parents.
    pub fn mkdir(&self, path: impl IntoVolumePath, cancel: &CancelToken) -> Result<()> {
        let path = path.into_volume_path()?;
        self.prepare_write()?.mkdir(&path, cancel)
    }

    /// Removes one entry.
    pub fn remove(&self, path: impl IntoVolumePath, cancel: &CancelToken) -> Result<()> {
        let path = path.into_volume_path()?;
        let volume_root = self.open_root()?;
        cancel.commit()?;
        volume_root.remove(&path)
    }

    /// Removes an entry and everything below it.
    pub fn remove_all(&self, path: impl IntoVolumePath, cancel: &CancelToken) -> Result<()> {
        let path = path.into_volume_path()?;
        let volume_root = self.open_root()?;
        cancel.commit()?;
        volume_root.remove_all(&path)
    }

    /// Prepares the removal of an entry and everything below it, in slices.
    pub fn prepare_remove_all(
        &self,
        path: impl IntoVolumePath,
        cancel: &CancelToken,
    ) -> Result<PreparedRemoval> {
        let path = path.into_volume_path()?;
        let volume_root = self.open_root()?;
        cancel.commit()?;
        Ok(PreparedRemoval {
            removal: volume_root.begin_remove_all(&path)?,
            volume: self.volume.name.clone(),
        })
    }

    /// Returns true if an entry exists at the path.
    pub fn exists(&self, path: impl IntoVolumePath) -> Result<bool> {
        let path = path.into_volume_path()?;
        self.open_root()?.exists(&path)
    }

    /// Returns the volume's root, for operations that need nothing else of the store.
    pub(crate) fn open_root(&self) -> Result<VolumeRoot> {
        match self.store.last_handle().root_cache.get(&self.volume, &self.root)? {
            Some(volume_root) => Ok(volume_root),
            None => self.open_root_in(self.store.handle()?.as_ref()),
        }
    }

    pub(crate) fn open_root_in(&self, handle: &StoreHandle) -> Result<VolumeRoot> {
        if let Some(volume_root) = handle.root_cache.get(&self.volume, &self.root)? {
            return Ok(volume_root);
        }
        for _ in 0..MAX_OPEN_ATTEMPTS {
            if let Some(volume_root) = self.try_open_root(handle)? {
                return Ok(volume_root);
            }
        }
        let busy = Error::file_system("open", ".", Errno::EBUSY.into());
        Err(busy.in_volume(self.volume.name.as_str()))
    }

    /// Opens the volume's root. Returns `None` if another directory replaced it during the opening.
    fn try_open_root(&self, handle: &StoreHandle) -> Result<Option<VolumeRoot>> {
        let (volumes, name) = (&handle.dirs.volumes, &self.volume.name);
        let open = || match volumes.open_child(name.as_str()) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => Ok(None),
            opened => opened.map(Some),
        };
        let dir = match open()? {
            Some(dir) => dir,
            // This lookup resolves an abandoned intent, which may move the directory back into place.
            None => handle
                .volume(&self.volume)
                .and_then(|_| open()?.ok_or_else(|| Error::volume_not_found(name.as_str())))?,
        };
        let volume = handle.volume(&self.volume)?;
        refuse_disk_volume(&volume)?;
        // TOCTOU: the volume may have been removed and created again since its directory was opened. If the directory
        // is at its path before and after the record is read, it is that volume's. No later directory gets its inode
        // number while it is open.
        if !volumes.is_entry(name.as_str(), dir.as_fd())? {
            return Ok(None);
        }
        let file_id = FileId::of_open(dir.as_fd()).map_err(|error| Error::file_system("stat", ".", error))?;
        let volume_root =
            VolumeRoot::new(name.clone(), dir.try_clone()?).with_quota_locks(&handle.quota_locks);
        handle
            .root_cache
            .insert(name, CachedRoot { root: volume_root.clone(), file_id, volume_id: volume.identity });
        Ok(Some(volume_root))
    }
}

/// Fails if the volume is a disk volume. A disk's files are in its inner file system.
fn refuse_disk_volume(volume: &VolumeRecord) -> Result<()> {
    if volume.storage.kind() == VolumeKind::Disk {
        let name = &volume.name;
        let problem = format!(
            "volume \"{name}\" is a disk, whose files are reached in the guest that mounts it; \"fs()\" works \
             on volumes of kind \"dir\""
        );
        return Err(Error::invalid_config(option_names::KIND, problem).in_volume(name.as_str()));
    }
    Ok(())
}

/// The removal of an entry and everything below it.
#[derive(Debug)]
pub struct PreparedRemoval {
    removal: Option<Removal>,
    volume: VolumeName,
}

impl PreparedRemoval {
    /// Continues until everything is removed, or until about `until`. Returns true if everything is removed.
    pub fn go_on(&mut self, until: Option<Instant>) -> Result<bool> {
        let gone = self.removal.as_mut().map_or(Ok(true), |removal| removal.advance(until));
        gone.map_err(|error| error.in_volume(self.volume.as_str()))
    }
}

/// A write that can run on another thread. With a quota, it should: it waits for the quota lock and may have to
/// measure the volume.
#[derive(Clone, Debug)]
pub struct WriteSession {
    pub(crate) files: VolumeFs,
    pub(crate) handle: Arc<StoreHandle>,
    pub(crate) quota: VolumeQuota,
}

impl WriteSession {
    /// Returns true if the volume has a quota.
    pub fn has_quota(&self) -> bool {
        self.quota.limit().is_limited()
    }

    /// Writes data to a file.
    pub fn write(&self, request: &WriteRequest, data: &[u8], cancel: &CancelToken) -> Result<()> {
        retry_past_leases(cancel, || self.write_once(request, data, cancel))
    }

    /// Writes data to a file. Fails with `EAGAIN` if a guest holds a lease on the file: see [`LeaseWait`]. The quota
    /// lock is released then.
    ///
    /// [`LeaseWait`]: crate::volume_fs::LeaseWait
    pub fn write_once(&self, request: &WriteRequest, data: &[u8], cancel: &CancelToken) -> Result<()> {
        self.quota.with_lock(cancel, || self.write_now(request, data, cancel))
    }

    /// Writes data to a file unless that would take long.
    ///
    /// Returns `None`, and writes nothing, if another writer holds the quota lock or the volume must be measured.
    /// Also returns `None` if a guest holds a lease on the file.
    pub fn try_write(&self, request: &WriteRequest, data: &[u8], cancel: &CancelToken) -> Result<Option<()>> {
        match self.quota.try_with_lock(|| self.write_now(request, data, cancel)) {
            Err(error) if is_lease_error(&error) => Ok(None),
            written => written,
        }
    }

    fn write_now(&self, request: &WriteRequest, data: &[u8], cancel: &CancelToken) -> Result<()> {
        self.files.open_root_in(&self.handle)?.write(request, data, &self.context(cancel))
    }

    /// Creates a directory and its missing parents.
    pub fn mkdir(&self, path: &VolumePath, cancel: &CancelToken) -> Result<()> {
        let mkdir = || self.files.open_root_in(&self.handle)?.mkdir(path, self.quota.limit(), cancel);
        self.quota.with_lock(cancel, mkdir)
    }

    /// Returns the directory for temp files.
    pub(crate) fn staging(&self) -> &Dir {
        &self.handle.dirs.staging
    }

    pub(crate) fn context<'c>(&'c self, cancel: &'c CancelToken) -> WriteContext<'c> {
        WriteContext { staging: self.staging(), quota: self.quota.limit(), cancel }
    }
}
