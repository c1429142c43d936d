//! Turns at writing a volume that has a quota: one writer at a time, who alone sees and changes its account.

use super::account::{Account, ENCODED};
use crate::error::{Error, Result};
use crate::model::VolumeName;
use crate::sys::FileLock;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Who writes volumes with a quota now, by name.
#[derive(Debug, Default)]
pub struct Turns(Mutex<HashMap<VolumeName, Arc<Turn>>>);

/// One volume's turn.
#[derive(Debug, Default)]
pub(super) struct Turn {
    in_this_process: Mutex<()>,
    ledger: Mutex<Option<Ledger>>,
}

/// Where a volume's account is kept while a turn is held.
#[derive(Debug)]
pub(super) struct Ledger {
    file: File,
    /// Whether a sandbox that may write has the volume.
    pub shared: bool,
}

impl Turns {
    /// Runs `work` as the only writer of a volume: in this process in a queue, among processes by the lock that
    /// `lock` takes, whose file keeps the account. `shared` tells whether a sandbox that may write has the volume.
    pub fn take<T>(
        &self,
        volume: &VolumeName,
        lock: impl FnOnce() -> Result<FileLock>,
        shared: impl FnOnce() -> Result<bool>,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let turn = {
            let mut turns = self.all();
            turns.retain(|_, turn| Arc::strong_count(turn) > 1);
            turns.entry(volume.clone()).or_default().clone()
        };
        let _in_this_process = turn.in_this_process.lock().unwrap_or_else(PoisonError::into_inner);
        let lock = lock()?;
        let file = lock.file().try_clone_to_owned();
        let file = file.map_err(|error| Error::file_system("dup", ".", error))?;
        let _open = turn.open(Ledger { file: file.into(), shared: shared()? });
        work()
    }

    /// The turn that is held at a volume, if one is.
    pub(super) fn held(&self, volume: &VolumeName) -> Option<Arc<Turn>> {
        self.all().get(volume).cloned()
    }

    fn all(&self) -> MutexGuard<'_, HashMap<VolumeName, Arc<Turn>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    pub fn ledger(&self) -> MutexGuard<'_, Option<Ledger>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, ledger: Ledger) -> Open<'_> {
        *self.ledger() = Some(ledger);
        Open(self)
    }
}

/// Closes the ledger when the turn ends, a panic included.
struct Open<'t>(&'t Turn);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *self.0.ledger() = None;
    }
}

impl Ledger {
    /// The account, if the file holds one.
    pub fn read(&self) -> Option<Account> {
        let mut bytes = [0; ENCODED];
        self.file.read_exact_at(&mut bytes, 0).ok()?;
        Account::decode(&bytes)
    }

    /// Keeps an account. It need not survive the machine: after a boot it is none any more.
    pub fn write(&self, account: &Account) -> io::Result<()> {
        let written = self.file.write_all_at(&account.encode(), 0);
        // One that could not be charged must not be relied on.
        written.or_else(|_| self.file.set_len(0))
    }
}
