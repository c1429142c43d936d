//! Cancellation with a commit point: an operation is either undone or completed.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How long an operation waits for another one on the same name, or for a locked catalog.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const COMMITTED: u8 = 2;

/// Shared between an operation and the callers that may cancel it.
///
/// Before its commit point the operation calls [`CancelToken::check`], and undoes its work if that fails. At the commit
/// point it calls [`CancelToken::commit`]. After that a cancellation has no effect and the operation completes.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    state: Arc<AtomicU8>,
    nested: bool,
    asked_at: Option<Instant>,
    slice: Option<Arc<Slice>>,
}

/// How long a first attempt of an operation may take while short operations wait behind it.
pub const SLICE: Duration = Duration::from_millis(10);

/// The deadline of a first attempt.
#[derive(Debug)]
struct Slice {
    end: Instant,
    is_over: AtomicBool,
}

impl CancelToken {
    /// Returns a token for an operation that the caller requests now. Its time in a queue counts as waiting: see
    /// [`CancelToken::left_of`].
    pub fn asked_now() -> Self {
        CancelToken { asked_at: Some(Instant::now()), ..CancelToken::default() }
    }

    /// Returns a token with the same cancellation for one of many steps, each of which may wait as long as a whole
    /// operation.
    pub fn of_a_step(&self) -> CancelToken {
        CancelToken { asked_at: None, ..self.clone() }
    }

    /// Returns a token with the same cancellation for a first attempt, whose checks fail after [`SLICE`]. The caller then
    /// retries where no short operation waits behind it.
    pub fn of_a_slice(&self) -> CancelToken {
        let slice = Slice { end: Instant::now() + SLICE, is_over: AtomicBool::new(false) };
        CancelToken { slice: Some(Arc::new(slice)), ..self.clone() }
    }

    /// Reports whether a first attempt failed because [`SLICE`] was over.
    pub fn is_slice_over(&self) -> bool {
        self.slice.as_ref().is_some_and(|slice| slice.is_over.load(Ordering::Acquire))
    }

    /// Returns how much is left of `limit`, the time for which the operation may wait for others.
    pub fn left_of(&self, limit: Duration) -> Duration {
        limit.saturating_sub(self.asked_at.map_or(Duration::ZERO, |asked_at| asked_at.elapsed()))
    }

    /// Returns the deadline for waiting for another operation on the same name.
    pub fn lock_deadline(&self) -> Instant {
        Instant::now() + self.left_of(LOCK_TIMEOUT)
    }

    /// Returns a token with the same cancellation for a step of a larger operation. The step's commit point is not that of
    /// the operation.
    pub fn nested(&self) -> CancelToken {
        CancelToken { nested: true, ..self.clone() }
    }

    /// Requests cancellation. Returns `false` if the operation has already passed its commit point.
    pub fn cancel(&self) -> bool {
        self.state.compare_exchange(RUNNING, CANCELLED, Ordering::AcqRel, Ordering::Acquire) != Err(COMMITTED)
    }

    /// Fails with `Aborted` if cancellation was requested.
    pub fn check(&self) -> Result<()> {
        match self.state.load(Ordering::Acquire) {
            CANCELLED => Err(Error::aborted()),
            _ => match &self.slice {
                Some(slice) if Instant::now() >= slice.end => {
                    slice.is_over.store(true, Ordering::Release);
                    Err(Error::aborted())
                }
                _ => Ok(()),
            },
        }
    }

    /// Passes the commit point. Fails with `Aborted` if cancellation was requested before.
    pub fn commit(&self) -> Result<()> {
        if self.nested {
            return self.check();
        }
        match self.state.compare_exchange(RUNNING, COMMITTED, Ordering::AcqRel, Ordering::Acquire) {
            Err(CANCELLED) => Err(Error::aborted()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_before_the_commit_point_wins() {
        let cancel = CancelToken::default();
        assert!(cancel.cancel());
        assert!(cancel.check().is_err());
        assert!(cancel.commit().is_err());
    }

    #[test]
    fn only_an_operation_with_a_request_time_waits_less() {
        let hour = Duration::from_secs(3600);
        assert_eq!(CancelToken::default().left_of(hour), hour);
        let asked = CancelToken { asked_at: Instant::now().checked_sub(hour / 2), ..CancelToken::default() };
        assert!(asked.nested().left_of(hour) <= hour / 2);
        assert_eq!(asked.left_of(hour / 4), Duration::ZERO);
    }

    #[test]
    fn a_first_attempt_fails_when_its_time_is_over_and_the_operation_does_not() {
        let cancel = CancelToken::default();
        let of_a_slice = cancel.of_a_slice();
        assert!(!of_a_slice.is_slice_over());
        while of_a_slice.check().is_ok() {
            std::thread::yield_now();
        }
        assert!(of_a_slice.is_slice_over());
        assert!(cancel.check().is_ok() && !cancel.is_slice_over());
    }

    #[test]
    fn a_cancellation_after_the_commit_point_has_no_effect() {
        let cancel = CancelToken::default();
        cancel.commit().unwrap();
        assert!(!cancel.cancel());
        assert!(cancel.check().is_ok());
    }
}
