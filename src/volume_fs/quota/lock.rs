//! Locks for writing volumes that have a quota: one writer at a time, which alone reads and changes the usage estimate.

use super::estimate::{ENCODED_BYTES, UsageEstimate};
use super::reserve::Quota;
use crate::error::{Error, Result};
use crate::model::VolumeName;
use crate::sync::{CancelToken, IgnorePoison, KeyedLock, LOCK_TIMEOUT};
use crate::sys::ext::FileExt;
use crate::sys::{Dir, ExistingLock, FileLock};
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Returns whether a sandbox that may write has the volume of that name.
pub type IsShared = Box<dyn Fn(&VolumeName) -> Result<bool> + Send + Sync>;

/// Creates the lock files of a volume. Fails if the volume does not exist, or if another operation holds its name lock
/// until the deadline.
pub type CreateLockFiles = Box<dyn Fn(&VolumeName, Instant, &CancelToken) -> Result<()> + Send + Sync>;

/// What the quota locks need of the store.
pub struct QuotaHooks {
    /// Returns the names of a volume's lock files: that of the writer, and that of the next writer.
    pub lock_files: fn(&VolumeName) -> [String; 2],
    /// Creates these files.
    pub create_lock_files: CreateLockFiles,
    /// Tells whether guests may write as well.
    pub is_shared: IsShared,
}

/// The quota locks of a home. Each is a queue in this process and a file lock among processes.
pub struct QuotaLocks {
    dir: Arc<Dir>,
    hooks: QuotaHooks,
    in_this_process: KeyedLock<VolumeName>,
    /// The locks that are held now.
    by_volume: Mutex<HashMap<VolumeName, Arc<QuotaLock>>>,
}

/// The quota lock of one volume.
#[derive(Debug, Default)]
pub(crate) struct QuotaLock {
    usage_file: Mutex<Option<UsageFile>>,
}

/// The file with a volume's usage estimate, open while the lock is held.
#[derive(Debug)]
pub(crate) struct UsageFile {
    file: File,
    /// Whether there is no time to measure the volume.
    must_not_measure: bool,
    /// Whether the volume would have had to be measured.
    needed_measuring: bool,
}

/// The quota of one volume, and the lock of its writers.
#[derive(Clone, Debug)]
pub struct VolumeQuota {
    limit: Quota,
    volume: VolumeName,
    locks: Arc<QuotaLocks>,
}

impl VolumeQuota {
    /// Returns the quota of a volume whose lock is one of `locks`.
    pub fn new(volume: &VolumeName, limit: Quota, locks: &Arc<QuotaLocks>) -> Self {
        VolumeQuota { limit, volume: volume.clone(), locks: locks.clone() }
    }

    /// Returns the most space that the volume may take.
    pub fn limit(&self) -> Quota {
        self.limit
    }

    /// Runs `write` under the quota lock if there is a limit. Waits for other writers. From the reservation to the end
    /// of the write, no other writer may use the free space.
    pub fn with_lock<T>(&self, cancel: &CancelToken, write: impl FnOnce() -> Result<T>) -> Result<T> {
        match self.limit.is_limited() {
            true => self.locks.with_lock(&self.volume, cancel, write),
            false => write(),
        }
    }

    /// Runs `write` like [`with_lock`](Self::with_lock) if that needs no wait. Returns `None`, and writes nothing, if
    /// another writer holds the lock or the volume must be measured.
    pub fn try_with_lock<T>(&self, write: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        match self.limit.is_limited() {
            true => self.locks.try_with_lock(&self.volume, write),
            false => write().map(Some),
        }
    }
}

impl QuotaLocks {
    /// Creates the set with no lock held. The lock files are in `dir`.
    pub fn new(dir: Arc<Dir>, hooks: QuotaHooks) -> Self {
        QuotaLocks { dir, hooks, in_this_process: KeyedLock::default(), by_volume: Mutex::default() }
    }

    fn with_lock<T>(
        &self,
        volume: &VolumeName,
        cancel: &CancelToken,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let deadline = cancel.lock_deadline();
        let taken = self.in_this_process.acquire(volume, deadline, cancel)?;
        let _taken = taken.ok_or_else(|| Error::volume_busy(volume.as_str(), LOCK_TIMEOUT))?;
        let quota_lock = self.lock_of(volume);
        let lock = self.lock_file(volume, deadline, cancel)?;
        let _open = quota_lock.open(&lock, false)?;
        work()
    }

    fn try_with_lock<T>(&self, volume: &VolumeName, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        let Some(_taken) = self.in_this_process.try_acquire(volume) else { return Ok(None) };
        let quota_lock = self.lock_of(volume);
        let Some(lock) = self.try_lock_file(volume)? else { return Ok(None) };
        let _open = quota_lock.open(&lock, true)?;
        match work() {
            Err(_)
                if quota_lock.usage_file().as_ref().is_some_and(|usage_file| usage_file.needed_measuring) =>
            {
                Ok(None)
            }
            result => result.map(Some),
        }
    }

    /// Acquires the file lock, whose file holds the estimate. Creates the lock files if they are missing. Fails if
    /// another process still holds the lock at `deadline`.
    fn lock_file(&self, volume: &VolumeName, deadline: Instant, cancel: &CancelToken) -> Result<FileLock> {
        loop {
            if let Some(lock) = self.lock_existing_file(volume, deadline, cancel)? {
                return Ok(lock);
            }
            (self.hooks.create_lock_files)(volume, deadline, cancel)?;
        }
    }

    /// Acquires the file lock like [`lock_file`](Self::lock_file). Returns `None` if the lock files do not exist.
    fn lock_existing_file(
        &self,
        volume: &VolumeName,
        deadline: Instant,
        cancel: &CancelToken,
    ) -> Result<Option<FileLock>> {
        let acquire = |entry: String| {
            let left = deadline.saturating_duration_since(Instant::now());
            match FileLock::acquire_existing(&self.dir, &entry, left, || cancel.check())? {
                Some(ExistingLock::Acquired(lock)) => Ok(Some(lock)),
                Some(ExistingLock::Missing) => Ok(None),
                None => Err(Error::volume_busy(volume.as_str(), LOCK_TIMEOUT)),
            }
        };
        // A waiter holds the second lock, so that a process that writes all the time does not always come first.
        let [current, next] = (self.hooks.lock_files)(volume);
        match acquire(next)? {
            Some(_next) => acquire(current),
            None => Ok(None),
        }
    }

    /// Acquires the file lock if it is free, no other process waits for it, and its files exist.
    fn try_lock_file(&self, volume: &VolumeName) -> Result<Option<FileLock>> {
        let [current, next] = (self.hooks.lock_files)(volume);
        match FileLock::try_acquire_own(&self.dir, &next)? {
            Some(_next) => FileLock::try_acquire_own(&self.dir, &current),
            None => Ok(None),
        }
    }

    /// Returns whether guests may write to a volume as well.
    pub(crate) fn is_shared(&self, volume: &VolumeName) -> Result<bool> {
        (self.hooks.is_shared)(volume)
    }

    /// Returns the lock of a volume if it is held.
    pub(crate) fn current(&self, volume: &VolumeName) -> Option<Arc<QuotaLock>> {
        self.locks().get(volume).cloned()
    }

    fn lock_of(&self, volume: &VolumeName) -> Arc<QuotaLock> {
        let mut quota_locks = self.locks();
        quota_locks.retain(|_, quota_lock| Arc::strong_count(quota_lock) > 1);
        quota_locks.entry(volume.clone()).or_default().clone()
    }

    fn locks(&self) -> MutexGuard<'_, HashMap<VolumeName, Arc<QuotaLock>>> {
        self.by_volume.lock().ignore_poison()
    }
}

impl fmt::Debug for QuotaLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaLocks").field("by_volume", &self.by_volume).finish_non_exhaustive()
    }
}

impl QuotaLock {
    pub fn usage_file(&self) -> MutexGuard<'_, Option<UsageFile>> {
        self.usage_file.lock().ignore_poison()
    }

    fn open(&self, lock: &FileLock, must_not_measure: bool) -> Result<OpenUsageFile<'_>> {
        let file = lock.file().try_clone_to_owned();
        let file = file.map_err(|error| Error::file_system("dup", ".", error))?.into();
        *self.usage_file() = Some(UsageFile { file, must_not_measure, needed_measuring: false });
        Ok(OpenUsageFile(self))
    }
}

/// Closes the usage file when the lock is released, also after a panic.
struct OpenUsageFile<'t>(&'t QuotaLock);

impl Drop for OpenUsageFile<'_> {
    fn drop(&mut self) {
        *self.0.usage_file() = None;
    }
}

impl UsageFile {
    /// Fails if there is no time to measure the volume.
    pub fn check_may_measure(&mut self) -> Result<()> {
        self.needed_measuring = self.must_not_measure;
        match self.needed_measuring {
            true => Err(Error::internal("a volume was measured in a write that must not wait")),
            false => Ok(()),
        }
    }

    /// Reads the estimate. Returns `None` if the file holds none.
    pub fn read(&self) -> Option<UsageEstimate> {
        let mut bytes = [0; ENCODED_BYTES];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        UsageEstimate::decode(&bytes)
    }

    /// Stores an estimate. Crash safety: it is not synced, because it is not valid after a reboot.
    pub fn write(&self, estimate: &UsageEstimate) -> io::Result<()> {
        let written = self.file.write_all_at(&estimate.encode(), 0);
        // An estimate without the charge must not be used.
        written.or_else(|_| self.file.set_len(0))
    }
}
