//! Operations that wait for a lease, which hold no thread and no turn: one thread resumes them all.

use super::runtime::dispatch::Outcome;
use super::runtime::executor::{self, Pool};
use crate::error::Result;
use crate::store::LeaseWait;
use crate::sync::{CancelToken, IgnorePoison};
use std::collections::BTreeMap;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// How much longer a pause is for each operation that pauses already, so that all of them together make a bounded number
/// of attempts a second, and the longest pause that comes of it.
const PAUSE_PER_OPERATION: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long the thread waits for another operation.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

static PAUSES: LazyLock<Pauses> = LazyLock::new(Pauses::default);

/// Runs `attempt` now, and again on `pool` while it fails because of a lease; then `rest` with what it returned. Each
/// attempt but the first may wait for other operations as long as an operation of its own.
pub fn past_leases<O: 'static, T: 'static>(
    pool: Pool,
    cancel: CancelToken,
    attempt: impl FnMut(&CancelToken) -> Result<O> + Send + 'static,
    rest: impl FnOnce(O) -> Result<Outcome<T>> + Send + 'static,
) -> Result<Outcome<T>> {
    attempt_after(LeaseWait::default(), pool, cancel, attempt, rest)
}

fn attempt_after<O: 'static, T: 'static>(
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
    Ok(pause_for(pause, later, cancel, move || attempt_after(wait, pool, again, attempt, rest)))
}

/// A step that runs `rest` on `pool` after about that time, or fails with `Aborted` at once if the operation is
/// cancelled: see [`release_cancelled`].
pub fn pause_for<T: 'static>(
    pause: Duration,
    pool: Pool,
    cancel: CancelToken,
    rest: impl FnOnce() -> Result<Outcome<T>> + Send + 'static,
) -> Outcome<T> {
    Outcome::Parked(Box::new(move |resume| {
        let checked = cancel.clone();
        let rest = move || checked.check().and_then(|()| rest());
        PAUSES.add(pause, cancel, Box::new(move || resume(pool, Box::new(rest))));
    }))
}

/// Has cancelled operations that pause end now. Returns at once, however many there are.
pub fn release_cancelled() {
    PAUSES.lock().has_cancelled = true;
    PAUSES.changed.notify_one();
}

/// The operations that pause.
#[derive(Default)]
struct Pauses {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By the time when they go on, and a number that keeps those of one time apart.
    waiting: BTreeMap<(Instant, u64), Waiter>,
    next_number: u64,
    /// Whether there is a thread that resumes them.
    is_served: bool,
    /// Whether some may have been cancelled since that thread looked.
    has_cancelled: bool,
}

struct Waiter {
    cancel: CancelToken,
    go_on: Box<dyn FnOnce() + Send>,
}

impl Pauses {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().ignore_poison()
    }

    fn add(&'static self, pause: Duration, cancel: CancelToken, go_on: Box<dyn FnOnce() + Send>) {
        let mut state = self.lock();
        if !state.is_served {
            let name = "volumes-pauses".to_owned();
            state.is_served = thread::Builder::new().name(name).spawn(|| self.serve()).is_ok();
        }
        if !state.is_served {
            // Without a thread that waits for all, each waits for itself.
            drop(state);
            thread::sleep(pause);
            return go_on();
        }
        let others = u32::try_from(state.waiting.len()).unwrap_or(u32::MAX);
        let among_others = PAUSE_PER_OPERATION.saturating_mul(others).min(LONGEST_PAUSE);
        let (at, number) = (Instant::now() + pause.max(among_others), state.next_number);
        state.next_number += 1;
        // One that was cancelled before it came here is not looked for again.
        state.has_cancelled |= cancel.check().is_err();
        state.waiting.insert((at, number), Waiter { cancel, go_on });
        drop(state);
        self.changed.notify_one();
    }

    /// Resumes operations whose pause is over, until there was none to wait for during some time.
    fn serve(&self) {
        let mut state = self.lock();
        let mut is_idle_for_long = false;
        loop {
            let now = Instant::now();
            let (due, has_cancelled) = state.take_due(now);
            if has_cancelled || !due.is_empty() {
                drop(state);
                for waiter in due {
                    // Queues a job, or reports that it cannot. This keeps the thread alive if that fails.
                    let _reported = catch_unwind(AssertUnwindSafe(waiter.go_on));
                }
                if has_cancelled {
                    // They may be queued for a turn, also those that were resumed just before they were cancelled.
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

impl State {
    /// Takes out what goes on now, and tells whether some of that may have been cancelled.
    fn take_due(&mut self, now: Instant) -> (Vec<Waiter>, bool) {
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
