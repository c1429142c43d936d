//! Lock files of a volume's name.
//!
//! `<name>.lock` is never unlinked or renamed, because microsandbox opens it once and waits on that descriptor. It is
//! held around catalog transactions and renames only. The exception: a `check` that repairs renames an entry at that
//! path that is no regular file. The lock of the catalog excludes other repairs.
//!
//! The other files belong to this store only, and are deleted with the volume. A lock on an unlinked file is void, so
//! its holder opens the file that is at the path then.

use crate::error::{Errno, Error, Result};
use crate::model::VolumeName;
use crate::store::paths::SEPARATOR;
use crate::sync::{CancelToken, LOCK_TIMEOUT};
use crate::sys::fd::OwnedFd;
use crate::sys::{Dir, FileLock};
use std::sync::Arc;
use std::time::Instant;

/// The lock files of all volumes of a home.
#[derive(Clone, Debug)]
pub struct NameLocks {
    dir: Arc<Dir>,
}

impl NameLocks {
    /// Returns the locks in a directory.
    pub fn new(dir: Dir) -> Self {
        NameLocks { dir: Arc::new(dir) }
    }

    /// Returns the directory of the lock files.
    pub fn dir(&self) -> &Arc<Dir> {
        &self.dir
    }

    /// Acquires the name lock. Fails if another operation holds it for too long.
    pub fn lock(&self, name: &VolumeName, cancel: &CancelToken) -> Result<FileLock> {
        self.lock_until(name, cancel.lock_deadline(), cancel)
    }

    /// Acquires the name lock. Fails if another operation still holds it at `deadline`.
    pub fn lock_until(&self, name: &VolumeName, deadline: Instant, cancel: &CancelToken) -> Result<FileLock> {
        let left = deadline.saturating_duration_since(Instant::now());
        FileLock::acquire(&self.dir, &name_lock_entry(name), left, || cancel.check())?
            .ok_or_else(|| Error::volume_busy(name.as_str(), LOCK_TIMEOUT))
    }

    /// Acquires the name lock if it is free.
    pub fn try_lock(&self, name: &VolumeName) -> Result<Option<FileLock>> {
        FileLock::try_acquire(&self.dir, &name_lock_entry(name))
    }

    /// Returns true if the name lock cannot be held, because it is no file.
    pub fn is_unusable(&self, name: &VolumeName) -> Result<bool> {
        Ok(self.dir.non_file_at(&name_lock_entry(name))?.is_some())
    }

    /// Returns true if the work lock of a volume cannot be held, because it is no file.
    pub fn is_work_lock_unusable(&self, name: &VolumeName) -> Result<bool> {
        Ok(self.dir.non_file_at(&work_lock_entry(name))?.is_some())
    }

    /// Creates the files of a volume's quota lock. The caller holds the name lock, and the volume exists.
    pub fn create_quota_files(&self, name: &VolumeName) -> Result<()> {
        quota_lock_entries(name).iter().try_for_each(|entry| self.dir.open_or_create_file(entry).map(drop))
    }

    /// Deletes the files of a volume's quota lock. The caller holds the name lock, and the volume is being removed.
    pub fn delete_quota_files(&self, name: &VolumeName) -> Result<()> {
        quota_lock_entries(name).iter().try_for_each(|entry| self.dir.unlink(entry))
    }

    /// Acquires the work lock of a volume with an intent. Returns `None` if another operation holds it.
    pub fn acquire_work_lock(&self, name: &VolumeName) -> Result<Option<WorkLock>> {
        let entry = work_lock_entry(name);
        let lock = FileLock::try_acquire(&self.dir, &entry)?;
        Ok(lock.map(|lock| WorkLock { entry, lock }))
    }

    /// Returns true if an operation holds the work lock of a volume. The caller holds the name lock.
    ///
    /// On a read-only file system, where no lock can be acquired, returns true if the lock file exists.
    pub fn is_work_locked(&self, name: &VolumeName) -> Result<bool> {
        let entry = work_lock_entry(name);
        match FileLock::acquire_existing(&self.dir, &entry, Default::default(), || Ok(())) {
            Err(error) if error.is_refusal(&[Errno::EROFS]) => Ok(true),
            held => Ok(held?.is_none()),
        }
    }
}

/// The work lock of a volume. Its holder owns the volume's intent, even while the name lock is free.
#[derive(Debug)]
pub struct WorkLock {
    entry: String,
    lock: FileLock,
}

impl WorkLock {
    /// See [`FileLock::duplicate`].
    pub fn duplicate(&self) -> Result<OwnedFd> {
        self.lock.duplicate().map_err(|error| Error::file_system("fcntl", &self.entry, error))
    }

    /// Deletes the lock file while the lock is held.
    pub fn delete(self, locks: &NameLocks) -> Result<()> {
        locks.dir.unlink(&self.entry)
    }
}

/// A file in the directory of locks, of any kind.
#[derive(Debug)]
pub struct LockEntry {
    /// Name in the directory.
    pub entry: String,
    /// Volume of the lock.
    pub name: VolumeName,
    /// True for the name lock.
    pub is_name_lock: bool,
}

impl LockEntry {
    /// Parses the name of an entry. Returns `None` if this store makes no such entry.
    pub fn parse(entry: &str) -> Option<Self> {
        let stem =
            entry.split_once(SEPARATOR).map(|(name, _)| name).or_else(|| entry.strip_suffix(NAME_LOCK));
        let name = VolumeName::parse(stem?).ok()?;
        let is_name_lock = entry == name_lock_entry(&name);
        let is_own =
            || entry == work_lock_entry(&name) || quota_lock_entries(&name).iter().any(|own| own == entry);
        (is_name_lock || is_own()).then(|| LockEntry { entry: entry.to_owned(), name, is_name_lock })
    }
}

/// The suffix of name locks.
const NAME_LOCK: &str = ".lock";

fn name_lock_entry(name: &VolumeName) -> String {
    format!("{name}{NAME_LOCK}")
}

/// Returns the lock files of the writer of a volume with a quota, and of the next writer.
pub fn quota_lock_entries(name: &VolumeName) -> [String; 2] {
    [format!("{name}{SEPARATOR}quota.lock"), format!("{name}{SEPARATOR}quota-next.lock")]
}

/// Returns the lock file of long work on a volume.
fn work_lock_entry(name: &VolumeName) -> String {
    format!("{name}{SEPARATOR}work.lock")
}
