//! Locks for writing volumes that have a quota: one writer at a time, which alone reads and changes the usage estimate.

use super::estimate::{ENCODED_BYTES, UsageEstimate};
use crate::error::{Error, Result};
use crate::model::VolumeName;
use crate::sync::{CancelToken, IgnorePoison, KeyedLock, LOCK_TIMEOUT};
use crate::sys::FileLock;
use crate::sys::ext::FileExt;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Returns whether a sandbox that may write has the volume of that name.
pub type IsShared = Box<dyn Fn(&VolumeName) -> Result<bool> + Send + Sync>;

/// The quota locks that are held now, by volume name.
pub struct QuotaLocks {
    in_this_process: KeyedLock<VolumeName>,
    by_volume: Mutex<HashMap<VolumeName, Arc<QuotaLock>>>,
    pub(crate) is_shared: IsShared,
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

impl QuotaLocks {
    /// Creates the set with no lock held.
    pub fn new(is_shared: IsShared) -> Self {
        QuotaLocks { in_this_process: KeyedLock::default(), by_volume: Mutex::default(), is_shared }
    }

    /// Runs `work` as the only writer of a volume. Waits until `deadline` for other writers of this process. `lock`
    /// acquires the lock between processes, whose file holds the estimate.
    pub fn with_lock<T>(
        &self,
        volume: &VolumeName,
        deadline: Instant,
        cancel: &CancelToken,
        lock: impl FnOnce() -> Result<FileLock>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let taken = self.in_this_process.acquire(volume, deadline, cancel)?;
        let _taken = taken.ok_or_else(|| Error::volume_busy(volume.as_str(), LOCK_TIMEOUT))?;
        let quota_lock = self.lock_of(volume);
        let lock = lock()?;
        let _open = quota_lock.open(&lock, false)?;
        work()
    }

    /// Runs `work` like [`QuotaLocks::with_lock`] if that needs no wait. Returns `None`, and writes nothing, if another
    /// writer holds the lock or the volume must be measured.
    pub fn try_with_lock<T>(
        &self,
        volume: &VolumeName,
        try_lock: impl FnOnce() -> Result<Option<FileLock>>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(_taken) = self.in_this_process.try_acquire(volume) else { return Ok(None) };
        let quota_lock = self.lock_of(volume);
        let Some(lock) = try_lock()? else { return Ok(None) };
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
