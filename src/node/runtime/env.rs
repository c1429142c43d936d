//! The lifetime of a JavaScript environment.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, IgnorePoison};
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

/// Whether the environment exists, and how many jobs fill memory of it. It must not free that memory before
/// they end.
#[derive(Default)]
pub struct EnvLifetime {
    state: Mutex<EnvLifetimeState>,
    borrow_ended: Condvar,
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

    /// Whether the environment has ended.
    pub fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Marks the environment as ended, so that `borrow` fails from now on.
    pub fn end(&self) {
        self.lock().is_over = true;
    }

    /// Keeps the environment until the guard is dropped. Fails with `Aborted` if it has ended.
    pub fn borrow(&self) -> Result<BorrowGuard<'_>> {
        let mut state = self.lock();
        if state.is_over {
            return Err(Error::aborted());
        }
        state.borrowers += 1;
        Ok(BorrowGuard(self))
    }

    /// Waits until all borrow guards are dropped. The wait is short: each borrower fills only its own buffer.
    pub fn wait_for_borrowers(&self) {
        let mut state = self.lock();
        while state.borrowers > 0 {
            state = self.borrow_ended.wait(state).ignore_poison();
        }
    }
}

/// Returned by [`EnvLifetime::borrow`].
pub struct BorrowGuard<'l>(&'l EnvLifetime);

impl Drop for BorrowGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().borrowers -= 1;
        self.0.borrow_ended.notify_all();
    }
}

/// The operations that the end of the environment cancels.
#[derive(Clone, Default)]
pub struct EnvTeardown(Arc<Mutex<RunningOperations>>);

#[derive(Default)]
struct RunningOperations {
    cancels: HashMap<u64, CancelToken>,
    next: u64,
}

impl EnvTeardown {
    fn lock(&self) -> MutexGuard<'_, RunningOperations> {
        self.0.lock().ignore_poison()
    }

    /// Registers an operation for cancellation until the guard is dropped. Called while the environment
    /// exists.
    pub fn add(&self, cancel: &CancelToken) -> TeardownGuard {
        let mut running = self.lock();
        let id = running.next;
        running.next += 1;
        running.cancels.insert(id, cancel.clone());
        TeardownGuard { teardown: self.clone(), id }
    }

    /// Cancels every operation that has not passed its commit point.
    pub fn cancel_all(&self) {
        for cancel in self.lock().cancels.values() {
            cancel.cancel();
        }
    }
}

/// Returned by [`EnvTeardown::add`].
pub struct TeardownGuard {
    teardown: EnvTeardown,
    id: u64,
}

impl Drop for TeardownGuard {
    fn drop(&mut self) {
        self.teardown.lock().cancels.remove(&self.id);
    }
}
