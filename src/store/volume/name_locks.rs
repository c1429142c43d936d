//! The locks of a volume's name.
//!
//! `<name>.lock` is never unlinked or renamed, because microsandbox opens it once and waits on that descriptor. It is held
//! around catalog transactions and renames only. The other files are ours alone and go with the volume: a lock that was
//! acquired on an unlinked file is none, so that its taker opens what stands there by then.

use crate::error::{Error, Result};
use crate::model::VolumeName;
use crate::store::StoreHandle;
use crate::store::layout::{HomeDirs, SEPARATOR};
use crate::sync::{CancelToken, LONGEST_WAIT};
use crate::sys::{ExistingLock, FileLock};
use std::time::Instant;

impl HomeDirs {
    /// Locks a name, waiting a while for whoever has it.
    pub fn lock(&self, name: &VolumeName, cancel: &CancelToken) -> Result<FileLock> {
        self.lock_until(name, cancel.may_wait_until(), cancel)
    }

    /// Locks a name; fails if another operation still has it at the deadline.
    pub fn lock_until(&self, name: &VolumeName, deadline: Instant, cancel: &CancelToken) -> Result<FileLock> {
        let left = deadline.saturating_duration_since(Instant::now());
        FileLock::acquire(&self.locks, &lock_entry(name), left, || cancel.check())?
            .ok_or_else(|| Error::volume_busy(name.as_str(), LONGEST_WAIT))
    }

    /// Locks a name if nobody has it at this moment.
    pub fn try_lock(&self, name: &VolumeName) -> Result<Option<FileLock>> {
        FileLock::try_acquire(&self.locks, &lock_entry(name))
    }

    /// Takes a turn at writing files of a volume that has a quota, waiting until the deadline for whoever writes now.
    /// Returns `None` if the files of these locks are not there yet.
    fn lock_quota(
        &self,
        name: &VolumeName,
        deadline: Instant,
        cancel: &CancelToken,
    ) -> Result<Option<FileLock>> {
        let acquire = |entry: String| {
            let left = deadline.saturating_duration_since(Instant::now());
            match FileLock::acquire_existing(&self.locks, &entry, left, || cancel.check())? {
                Some(ExistingLock::Acquired(lock)) => Ok(Some(lock)),
                Some(ExistingLock::Missing) => Ok(None),
                None => Err(Error::volume_busy(name.as_str(), LONGEST_WAIT)),
            }
        };
        // Whoever waits has the other lock, so that one who writes all the time does not always come first.
        let [turn, next] = quota_entries(name);
        match acquire(next)? {
            Some(_next) => acquire(turn),
            None => Ok(None),
        }
    }

    /// Takes a turn if nobody has it, or waits for it, at this moment, and its files are there.
    pub fn try_lock_quota(&self, name: &VolumeName) -> Result<Option<FileLock>> {
        let [turn, next] = quota_entries(name);
        match FileLock::try_acquire_own(&self.locks, &next)? {
            Some(_next) => FileLock::try_acquire_own(&self.locks, &turn),
            None => Ok(None),
        }
    }

    /// Deletes the files of a volume's turns. The caller holds the name's lock, and the volume is on its way out.
    pub fn delete_quota_files(&self, name: &VolumeName) -> Result<()> {
        quota_entries(name).iter().try_for_each(|entry| self.locks.unlink(entry))
    }

    /// Claims the long work on a volume that an intent tells of; returns `None` if a living operation has it.
    pub fn claim_work(&self, name: &VolumeName) -> Result<Option<WorkLock>> {
        let entry = work_entry(name);
        let lock = FileLock::try_acquire(&self.locks, &entry)?;
        Ok(lock.map(|lock| WorkLock { entry, _lock: lock }))
    }

    /// Whether a living operation has the long work on a volume.
    pub fn is_worked_on(&self, name: &VolumeName) -> Result<bool> {
        let entry = work_entry(name);
        let held = FileLock::acquire_existing(&self.locks, &entry, Default::default(), || Ok(()))?;
        Ok(held.is_none())
    }
}

/// The claim to the long work on a volume, until it is dropped or the process ends. Who has it is the owner of the
/// volume's intent, also while the name's lock is free.
#[derive(Debug)]
pub struct WorkLock {
    entry: String,
    _lock: FileLock,
}

impl WorkLock {
    /// Deletes the file while it is still locked.
    pub fn delete(self, layout: &HomeDirs) -> Result<()> {
        layout.locks.unlink(&self.entry)
    }
}

impl StoreHandle {
    /// Takes a turn at writing files of a volume that has a quota.
    pub(crate) fn lock_quota(
        &self,
        name: &VolumeName,
        deadline: Instant,
        cancel: &CancelToken,
    ) -> Result<FileLock> {
        loop {
            if let Some(lock) = self.layout.lock_quota(name, deadline, cancel)? {
                return Ok(lock);
            }
            let _lock = self.layout.lock_until(name, deadline, cancel)?;
            // Under the name's lock a volume that is there stays, so these files cannot outlive it.
            if self.catalog.read(|catalog| catalog.volume(name))?.is_none() {
                return Err(Error::volume_not_found(name.as_str()));
            }
            for entry in quota_entries(name) {
                self.layout.locks.open_or_create_file(&entry)?;
            }
        }
    }
}

fn lock_entry(name: &VolumeName) -> String {
    format!("{name}.lock")
}

/// Who writes a volume that has a quota now, and who does next.
fn quota_entries(name: &VolumeName) -> [String; 2] {
    [format!("{name}{SEPARATOR}quota.lock"), format!("{name}{SEPARATOR}quota-next.lock")]
}

/// Who works on a volume for long.
fn work_entry(name: &VolumeName) -> String {
    format!("{name}{SEPARATOR}work.lock")
}
