//! QuotaLocks at writing a volume that has a quota: one writer at a time, who alone sees and changes its account.

use super::estimate::{ENCODED, UsageEstimate};
use crate::error::{Error, Result};
use crate::model::VolumeName;
use crate::sync::{CancelToken, IgnorePoison, KeyedLock, LONGEST_WAIT};
use crate::sys::FileLock;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

/// Tells whether a sandbox that may write has the volume of that name.
pub type IsShared = Box<dyn Fn(&VolumeName) -> Result<bool> + Send + Sync>;

/// Who writes volumes with a quota now, by name.
pub struct QuotaLocks {
    in_this_process: KeyedLock<VolumeName>,
    by_volume: Mutex<HashMap<VolumeName, Arc<QuotaLock>>>,
    pub(crate) is_shared: IsShared,
}

/// One volume's turn.
#[derive(Debug, Default)]
pub(crate) struct QuotaLock {
    ledger: Mutex<Option<UsageFile>>,
}

/// Where a volume's account is kept while a turn is held.
#[derive(Debug)]
pub(crate) struct UsageFile {
    file: File,
    /// Whether there is no time to measure the volume.
    at_once: bool,
    /// Whether it would have had to be measured.
    declined: bool,
}

impl QuotaLocks {
    /// Nobody's turn.
    pub fn new(is_shared: IsShared) -> Self {
        QuotaLocks { in_this_process: KeyedLock::default(), by_volume: Mutex::default(), is_shared }
    }

    /// Runs `work` as the only writer of a volume: in this process once the others here are done, for which it waits
    /// until the deadline, among processes by the lock that `lock` takes, whose file keeps the account.
    pub fn take<T>(
        &self,
        volume: &VolumeName,
        deadline: Instant,
        cancel: &CancelToken,
        lock: impl FnOnce() -> Result<FileLock>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let taken = self.in_this_process.take(volume, deadline, cancel)?;
        let _taken = taken.ok_or_else(|| Error::volume_busy(volume.as_str(), LONGEST_WAIT))?;
        let turn = self.turn(volume);
        let lock = lock()?;
        let _open = turn.open(&lock, false)?;
        work()
    }

    /// The same, unless that would take long: because somebody else has the turn, which `try_lock` finds out too,
    /// or because the volume would have to be measured. Then it gives none, and nothing was written.
    pub fn try_take<T>(
        &self,
        volume: &VolumeName,
        try_lock: impl FnOnce() -> Result<Option<FileLock>>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        let Some(_taken) = self.in_this_process.try_take(volume) else { return Ok(None) };
        let turn = self.turn(volume);
        let Some(lock) = try_lock()? else { return Ok(None) };
        let _open = turn.open(&lock, true)?;
        match work() {
            Err(_) if turn.ledger().as_ref().is_some_and(|ledger| ledger.declined) => Ok(None),
            result => result.map(Some),
        }
    }

    /// The turn that is held at a volume, if one is.
    pub(crate) fn held(&self, volume: &VolumeName) -> Option<Arc<QuotaLock>> {
        self.all().get(volume).cloned()
    }

    fn turn(&self, volume: &VolumeName) -> Arc<QuotaLock> {
        let mut turns = self.all();
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(volume.clone()).or_default().clone()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<VolumeName, Arc<QuotaLock>>> {
        self.by_volume.lock().ignore_poison()
    }
}

impl fmt::Debug for QuotaLocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turns").field("by_volume", &self.by_volume).finish_non_exhaustive()
    }
}

impl QuotaLock {
    pub fn ledger(&self) -> MutexGuard<'_, Option<UsageFile>> {
        self.ledger.lock().ignore_poison()
    }

    fn open(&self, lock: &FileLock, at_once: bool) -> Result<OpenUsageFile<'_>> {
        let file = lock.file().try_clone_to_owned();
        let file = file.map_err(|error| Error::file_system("dup", ".", error))?.into();
        *self.ledger() = Some(UsageFile { file, at_once, declined: false });
        Ok(OpenUsageFile(self))
    }
}

/// Closes the ledger when the turn ends, a panic included.
struct OpenUsageFile<'t>(&'t QuotaLock);

impl Drop for OpenUsageFile<'_> {
    fn drop(&mut self) {
        *self.0.ledger() = None;
    }
}

impl UsageFile {
    /// Refuses to have the volume measured where there is no time for it.
    pub fn check_time_to_measure(&mut self) -> Result<()> {
        self.declined = self.at_once;
        match self.declined {
            true => Err(Error::internal("a volume that was to be measured later was not")),
            false => Ok(()),
        }
    }

    /// The account, if the file holds one.
    pub fn read(&self) -> Option<UsageEstimate> {
        let mut bytes = [0; ENCODED];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        UsageEstimate::decode(&bytes)
    }

    /// Keeps an account. It need not survive the machine: after a boot it is none any more.
    pub fn write(&self, account: &UsageEstimate) -> io::Result<()> {
        let written = self.file.write_all_at(&account.encode(), 0);
        // One that could not be charged must not be relied on.
        written.or_else(|_| self.file.set_len(0))
    }
}
