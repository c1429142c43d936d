//! The life of a JavaScript environment.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, IgnorePoison};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Whether the environment is still there, and how many jobs fill memory of it, which it must not free before.
#[derive(Default)]
pub struct EnvLifetime {
    state: Mutex<EnvLifetimeState>,
    returned: Condvar,
}

#[derive(Default)]
struct EnvLifetimeState {
    is_over: bool,
    borrowers: usize,
}

impl EnvLifetime {
    fn lock(&self) -> MutexGuard<'_, EnvLifetimeState> {
        self.state.lock().ignore_poison()
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Ends it, so that it lends nothing more.
    pub fn end(&self) {
        self.lock().is_over = true;
    }

    /// Keeps the environment until the guard is dropped; fails if it has ended.
    pub fn borrow(&self) -> Result<BorrowGuard<'_>> {
        let mut state = self.lock();
        if state.is_over {
            return Err(Error::aborted());
        }
        state.borrowers += 1;
        Ok(BorrowGuard(self))
    }

    /// Waits until nothing of it is lent. Each borrower fills no more than its buffer.
    pub fn wait_for_borrowers(&self) {
        let mut state = self.lock();
        while state.borrowers > 0 {
            state = self.returned.wait(state).ignore_poison();
        }
    }
}

/// See [`EnvLifetime::borrow`].
pub struct BorrowGuard<'l>(&'l EnvLifetime);

impl Drop for BorrowGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().borrowers -= 1;
        self.0.returned.notify_all();
    }
}

/// What the end of the environment cancels.
#[derive(Clone, Default)]
pub struct EnvTeardown(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    cancels: HashMap<u64, CancelToken>,
    next: u64,
}

impl EnvTeardown {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.0.lock().ignore_poison()
    }

    /// Has the end cancel an operation, until the guard is dropped. Called while the environment is there.
    pub fn add(&self, cancel: &CancelToken) -> EndingGuard {
        let mut running = self.lock();
        let id = running.next;
        running.next += 1;
        running.cancels.insert(id, cancel.clone());
        EndingGuard { endings: self.clone(), id }
    }

    /// Cancels what has not passed its commit point.
    pub fn cancel_all(&self) {
        for cancel in self.lock().cancels.values() {
            cancel.cancel();
        }
    }
}

/// See [`EnvTeardown::add`].
pub struct EndingGuard {
    endings: EnvTeardown,
    id: u64,
}

impl Drop for EndingGuard {
    fn drop(&mut self) {
        self.endings.lock().cancels.remove(&self.id);
    }
}
