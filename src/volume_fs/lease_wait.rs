//! Opens files on which a guest holds a lease (`F_SETLEASE`). Each attempt makes the kernel ask the holder to release
//! the lease. It fails with `EAGAIN` until the holder does so or its time is over.

use crate::error::{Errno, Error, Result};
use crate::sync::{CancelToken, wait_in_pool};
use crate::sys::lease_break_time;
use std::time::{Duration, Instant};

/// The first pause between two attempts, and the longest one.
const MIN_PAUSE: Duration = Duration::from_millis(1);
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// How long to wait beyond the kernel's limit for a holder that takes the lease again and again.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Runs `open`, and retries while a lease makes it fail. Fails with `Aborted` if the operation was cancelled. Fails
/// with `EBUSY` if a lease is held longer than the kernel allows.
pub fn retry_past_leases<T>(cancel: &CancelToken, mut open: impl FnMut() -> Result<T>) -> Result<T> {
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
        LeaseWait { next_pause: MIN_PAUSE, deadline: None }
    }
}

impl LeaseWait {
    /// Returns how long to wait before the next attempt, after a lease made one fail. Fails with `error` if its cause
    /// is another one, and otherwise like [`retry_past_leases`].
    pub fn pause_after(&mut self, error: Error, cancel: &CancelToken) -> Result<Duration> {
        if !is_lease_error(&error) {
            return Err(error);
        }
        let now = Instant::now();
        let deadline = *self.deadline.get_or_insert_with(|| now + lease_break_time() + LEASE_MARGIN);
        cancel.check()?;
        if now >= deadline {
            return Err(lease_timeout_error(&error));
        }
        let pause = self.next_pause;
        self.next_pause = (pause * 2).min(MAX_PAUSE);
        Ok(pause)
    }
}

/// Returns whether a lease kept the system from opening a file.
pub fn is_lease_error(error: &Error) -> bool {
    error.is_refusal(&[Errno::EAGAIN]) && error.context().syscall == Some("open")
}

fn lease_timeout_error(error: &Error) -> Error {
    let context = error.context();
    let path = context.path.as_deref().unwrap_or_default();
    let problem = "another process takes a lease on the file again whenever the kernel breaks it";
    let busy = Error::file_system_because("open", path, Errno::EBUSY, problem);
    match &context.volume {
        Some(volume) => busy.in_volume(volume),
        None => busy,
    }
}
