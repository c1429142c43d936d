//! Retries of operations that fail because of a file lease. A waiting operation takes no thread and no keyed
//! limit: one thread resumes all of them.

use super::runtime::executor::{self, Pool};
use super::runtime::job::Outcome;
use crate::error::Result;
use crate::store::LeaseWait;
use crate::sync::{CancelToken, IgnorePoison};
use std::collections::BTreeMap;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// By how much each operation that already pauses lengthens a pause. So all of them together make at most 1,000
/// attempts a second, however many there are.
const PAUSE_PER_OPERATION: Duration = Duration::from_millis(1);

/// How long the thread waits for another operation.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

static PAUSED: LazyLock<PausedOperations> = LazyLock::new(PausedOperations::default);

/// Runs `attempt` now, and again on `pool` while it fails because of a lease. Then runs `rest` with its
/// result. Each attempt but the first may wait for other operations as long as a separate operation may.
pub fn retry_while_leased<O: 'static, T: 'static>(
    pool: Pool,
    cancel: CancelToken,
    attempt: impl FnMut(&CancelToken) -> Result<O> + Send + 'static,
    rest: impl FnOnce(O) -> Result<Outcome<T>> + Send + 'static,
) -> Result<Outcome<T>> {
    attempt_with(LeaseWait::default(), pool, cancel, attempt, rest)
}

fn attempt_with<O: 'static, T: 'static>(
    mut wait: LeaseWait,
    pool: Pool,
    cancel: CancelToken,
    mut attempt: impl FnMut(&CancelToken) -> Result<O> + Send + 'static,
    rest: impl FnOnce(O) -> Result<Outcome<T>> + Send + 'static,
) -> Result<Outcome<T>> {
    let error = match attempt(&cancel) {
        Ok(opened) => return rest(opened),
        Err(error) => error,
    };
    let pause = wait.pause_after(error, &cancel)?;
    let (later, again) = (pool.clone(), cancel.of_a_step());
    Ok(pause_then(pause, later, cancel, move || attempt_with(wait, pool, again, attempt, rest)))
}

/// Returns a step that runs `rest` on `pool` after `pause`. It fails with `Aborted` at once if the operation
/// is cancelled: see [`release_cancelled`].
pub fn pause_then<T: 'static>(
    pause: Duration,
    pool: Pool,
    cancel: CancelToken,
    rest: impl FnOnce() -> Result<Outcome<T>> + Send + 'static,
) -> Outcome<T> {
    Outcome::Parked(Box::new(move |resume| {
        let checked = cancel.clone();
        let pool = Pool::Resumed(Box::new(pool), cancel.clone());
        let go_on = move || {
            // A cancelled operation only ends, so it does not wait for the pool's jobs.
            let pool = if checked.check().is_ok() { pool } else { Pool::Fast };
            resume(pool, Box::new(move || checked.check().and_then(|()| rest())));
        };
        PAUSED.add(pause, cancel, Box::new(go_on));
    }))
}

/// Ends cancelled operations that pause. Returns at once, however many there are.
pub fn release_cancelled() {
    PAUSED.lock().has_cancelled = true;
    PAUSED.changed.notify_one();
}

/// The operations that pause.
#[derive(Default)]
struct PausedOperations {
    state: Mutex<PauseState>,
    changed: Condvar,
}

#[derive(Default)]
struct PauseState {
    /// Keyed by the time of the resumption, and a number that makes the key unique.
    waiting: BTreeMap<(Instant, u64), PausedOperation>,
    next_number: u64,
    /// Whether a thread runs that resumes them.
    is_served: bool,
    /// Whether an operation may have been cancelled since that thread checked.
    has_cancelled: bool,
}

struct PausedOperation {
    cancel: CancelToken,
    resume: Box<dyn FnOnce() + Send>,
}

impl PausedOperations {
    fn lock(&self) -> MutexGuard<'_, PauseState> {
        self.state.lock().ignore_poison()
    }

    fn add(&'static self, pause: Duration, cancel: CancelToken, resume: Box<dyn FnOnce() + Send>) {
        let mut state = self.lock();
        if !state.is_served {
            let name = "volumes-leases".to_owned();
            state.is_served = thread::Builder::new().name(name).spawn(|| self.serve()).is_ok();
        }
        if !state.is_served {
            // If no thread can be started, the operation sleeps on its own thread.
            drop(state);
            thread::sleep(pause);
            return resume();
        }
        let others = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
        let min_pause = PAUSE_PER_OPERATION.saturating_mul(others);
        let (at, number) = (Instant::now() + pause.max(min_pause), state.next_number);
        state.next_number += 1;
        // An operation that was cancelled before this call is not searched for again.
        state.has_cancelled |= cancel.check().is_err();
        state.waiting.insert((at, number), PausedOperation { cancel, resume });
        drop(state);
        self.changed.notify_one();
    }

    /// Resumes operations at the end of their pauses. Returns after [`IDLE_TIMEOUT`] without any.
    fn serve(&self) {
        let mut state = self.lock();
        let mut is_idle_for_long = false;
        loop {
            let now = Instant::now();
            let (due, has_cancelled) = state.take_due(now);
            if has_cancelled || !due.is_empty() {
                drop(state);
                for waiter in due {
                    // It queues a job, or reports a failure to do so. This keeps the thread alive if that
                    // panics.
                    let _reported = catch_unwind(AssertUnwindSafe(waiter.resume));
                }
                if has_cancelled {
                    // Cancelled operations may wait for a keyed limit, also those that were resumed just
                    // before.
                    executor::release_cancelled();
                }
                state = self.lock();
                is_idle_for_long = false;
                continue;
            }
            let next = state.waiting.keys().next().map(|(at, _)| at.saturating_duration_since(now));
            if next.is_none() && is_idle_for_long {
                state.is_served = false;
                return;
            }
            let waited = self.changed.wait_timeout(state, next.unwrap_or(IDLE_TIMEOUT));
            let (woken, timeout) = waited.ignore_poison();
            (state, is_idle_for_long) = (woken, next.is_none() && timeout.timed_out());
        }
    }
}

impl PauseState {
    /// Takes the operations to resume now. Returns also whether some of them may have been cancelled.
    fn take_due(&mut self, now: Instant) -> (Vec<PausedOperation>, bool) {
        let later = self.waiting.split_off(&(now, u64::MAX));
        let mut due: Vec<_> = mem::replace(&mut self.waiting, later).into_values().collect();
        let has_cancelled = mem::take(&mut self.has_cancelled);
        if has_cancelled {
            let (cancelled, kept): (BTreeMap<_, _>, _) = mem::take(&mut self.waiting)
                .into_iter()
                .partition(|(_, waiter)| waiter.cancel.check().is_err());
            due.extend(cancelled.into_values());
            self.waiting = kept;
        }
        (due, has_cancelled)
    }
}
