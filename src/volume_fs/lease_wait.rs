//! Opening a file on which a guest holds a lease (`F_SETLEASE`). Each attempt has the kernel ask the holder to give the
//! lease up, and fails with `EAGAIN` until it does or its time is over.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, wait_in_pool};
use crate::sys::lease_break_time;
use nix::errno::Errno;
use std::time::{Duration, Instant};

/// How long the first pause between two attempts is, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// How much longer than the kernel a holder that takes the lease again and again is waited for.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Runs `open`, and again while it fails because of a lease. Fails with `Aborted` if the operation was cancelled, and
/// with `EBUSY` if a lease is held longer than the kernel allows.
pub fn past_leases<T>(cancel: &CancelToken, mut open: impl FnMut() -> Result<T>) -> Result<T> {
    let mut wait = LeaseWait::default();
    loop {
        let pause = match open() {
            Ok(opened) => return Ok(opened),
            Err(error) => wait.pause_after(error, cancel)?,
        };
        wait_in_pool(|| std::thread::sleep(pause));
        cancel.check()?;
    }
}

/// The wait of one operation for leases.
#[derive(Debug)]
pub struct LeaseWait {
    next_pause: Duration,
    /// When to give up; `None` before the first attempt failed.
    deadline: Option<Instant>,
}

impl Default for LeaseWait {
    fn default() -> Self {
        LeaseWait { next_pause: FIRST_PAUSE, deadline: None }
    }
}

impl LeaseWait {
    /// Returns how long to wait before the next attempt, after one that a lease made fail. Fails with the error of an
    /// attempt that failed otherwise, and like [`past_leases`].
    pub fn pause_after(&mut self, error: Error, cancel: &CancelToken) -> Result<Duration> {
        if !is_lease(&error) {
            return Err(error);
        }
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert_with(|| now + lease_break_time() + LEASE_MARGIN);
        cancel.check()?;
        if now >= deadline {
            return Err(held_for_ever(&error));
        }
        let pause = self.next_pause;
        self.next_pause = (pause * 2).min(LONGEST_PAUSE);
        Ok(pause)
    }
}

/// Whether the system refused to open a file because of a lease.
pub fn is_lease(error: &Error) -> bool {
    error.is_refusal(&[Errno::EAGAIN]) && error.context().syscall == Some("open")
}

fn held_for_ever(error: &Error) -> Error {
    let context = error.context();
    let path = context.path.as_deref().unwrap_or_default();
    let problem = "another process takes a lease on the file again whenever the kernel breaks it";
    let busy = Error::file_system_because("open", path, Errno::EBUSY, problem);
    match &context.volume {
        Some(volume) => busy.in_volume(volume),
        None => busy,
    }
}
