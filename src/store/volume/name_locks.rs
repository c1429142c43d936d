//! Lock files of a volume's name.
//!
//! `<name>.lock` is never unlinked or renamed, because microsandbox opens it once and waits on that descriptor. It is
//! held around catalog transactions and renames only.
//!
//! The other files belong to this store only, and are deleted with the volume. A lock on an unlinked file is void, so
//! its holder opens the file that is at the path then.

use crate::error::{Errno, Error, Result};
use crate::model::VolumeName;
use crate::store::StoreHandle;
use crate::store::paths::SEPARATOR;
use crate::sync::{CancelToken, LOCK_TIMEOUT};
use crate::sys::fd::OwnedFd;
use crate::sys::{Dir, ExistingLock, FileLock};
use std::time::Instant;

/// The lock files of all volumes of a home.
#[derive(Debug)]
pub struct NameLocks {
    dir: Dir,
}

impl NameLocks {
    /// Returns the locks in a directory.
    pub fn new(dir: Dir) -> Self {
        NameLocks { dir }
    }

    /// Returns the directory of the lock files.
    pub fn dir(&self) -> &Dir {
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

    /// Acquires the quota lock of a volume. Fails if another process still holds it at `deadline`. Returns `None` if
    /// the lock files do not exist yet.
    fn lock_quota(
        &self,
        name: &VolumeName,
        deadline: Instant,
        cancel: &CancelToken,
    ) -> Result<Option<FileLock>> {
        let acquire = |entry: String| {
            let left = deadline.saturating_duration_since(Instant::now());
            match FileLock::acquire_existing(&self.dir, &entry, left, || cancel.check())? {
                Some(ExistingLock::Acquired(lock)) => Ok(Some(lock)),
                Some(ExistingLock::Missing) => Ok(None),
                None => Err(Error::volume_busy(name.as_str(), LOCK_TIMEOUT)),
            }
        };
        // A waiter holds the second lock, so that a process that writes all the time does not always come first.
        let [current, next] = quota_lock_entries(name);
        match acquire(next)? {
            Some(_next) => acquire(current),
            None => Ok(None),
        }
    }

    /// Acquires the quota lock if it is free, no other process waits for it, and its files exist.
    pub fn try_lock_quota(&self, name: &VolumeName) -> Result<Option<FileLock>> {
        let [current, next] = quota_lock_entries(name);
        match FileLock::try_acquire_own(&self.dir, &next)? {
            Some(_next) => FileLock::try_acquire_own(&self.dir, &current),
            None => Ok(None),
        }
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

impl StoreHandle {
    /// Acquires the quota lock of a volume, and creates its files if they are missing.
    pub(crate) fn lock_quota(
        &self,
        name: &VolumeName,
        deadline: Instant,
        cancel: &CancelToken,
    ) -> Result<FileLock> {
        loop {
            if let Some(lock) = self.dirs.locks.lock_quota(name, deadline, cancel)? {
                return Ok(lock);
            }
            let _lock = self.dirs.locks.lock_until(name, deadline, cancel)?;
            // Under the name lock an existing volume is not removed, so these files cannot outlive it.
            if self.catalog.read(|catalog| catalog.volume(name))?.is_none() {
                return Err(Error::volume_not_found(name.as_str()));
            }
            for entry in quota_lock_entries(name) {
                self.dirs.locks.dir.open_or_create_file(&entry)?;
            }
        }
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
fn quota_lock_entries(name: &VolumeName) -> [String; 2] {
    [format!("{name}{SEPARATOR}quota.lock"), format!("{name}{SEPARATOR}quota-next.lock")]
}

/// Returns the lock file of long work on a volume.
fn work_lock_entry(name: &VolumeName) -> String {
    format!("{name}{SEPARATOR}work.lock")
}
