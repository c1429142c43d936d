//! Cancellation that is decided once: an operation is either undone or completed, never left half done.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// The longest that an operation waits for another one on the same name, and that any waits for a locked catalog.
pub const LONGEST_WAIT: Duration = Duration::from_secs(5);

const RUNNING: u8 = 0;
const CANCELLED: u8 = 1;
const COMMITTED: u8 = 2;

/// Shared between an operation and whoever may cancel it.
///
/// Up to its commit point an operation calls [`CancelToken::check`] and undoes its work when told so; at that
/// point it calls [`CancelToken::commit`], after which a cancellation comes too late and the work completes.
#[derive(Clone, Debug, Default)]
pub struct CancelToken {
    state: Arc<AtomicU8>,
    nested: bool,
    asked_at: Option<Instant>,
    slice: Option<Arc<Slice>>,
}

/// For how long a walk may go on where short operations wait behind it.
pub const SLICE: Duration = Duration::from_millis(10);

/// The end of a first try.
#[derive(Debug)]
struct Slice {
    end: Instant,
    is_over: AtomicBool,
}

impl CancelToken {
    /// The cancellation of an operation that was asked for now, from when its waits are counted: one that stood in a
    /// queue waits that much less for others.
    pub fn asked_now() -> Self {
        CancelToken { asked_at: Some(Instant::now()), ..CancelToken::default() }
    }

    /// The same cancellation for one of many steps, each of which may wait as long as an operation of its own.
    pub fn of_a_step(&self) -> CancelToken {
        CancelToken { asked_at: None, ..self.clone() }
    }

    /// The same cancellation for a first try, which fails after a [`SLICE`] of time: its work is then done anew where
    /// nothing short waits behind it.
    pub fn of_a_slice(&self) -> CancelToken {
        let slice = Slice { end: Instant::now() + SLICE, is_over: AtomicBool::new(false) };
        CancelToken { slice: Some(Arc::new(slice)), ..self.clone() }
    }

    /// Whether a first try failed because its time was over.
    pub fn is_slice_over(&self) -> bool {
        self.slice.as_ref().is_some_and(|slice| slice.is_over.load(Ordering::Acquire))
    }

    /// How much is left of `most`, the longest that the operation may wait for others.
    pub fn left_of(&self, most: Duration) -> Duration {
        most.saturating_sub(self.asked_at.map_or(Duration::ZERO, |asked_at| asked_at.elapsed()))
    }

    /// Until when the operation may wait for another one on the same name.
    pub fn may_wait_until(&self) -> Instant {
        Instant::now() + self.left_of(LONGEST_WAIT)
    }

    /// The same cancellation for a step of a larger operation, whose commit point is not the larger one's.
    pub fn nested(&self) -> CancelToken {
        CancelToken { nested: true, ..self.clone() }
    }

    /// Asks for cancellation. False where the operation has already passed its commit point.
    pub fn cancel(&self) -> bool {
        self.state.compare_exchange(RUNNING, CANCELLED, Ordering::AcqRel, Ordering::Acquire) != Err(COMMITTED)
    }

    /// An `Aborted` error once cancellation was asked for.
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

    /// Passes the commit point, unless cancellation came first.
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
    fn only_an_operation_that_says_when_it_was_asked_for_has_less_to_wait() {
        let hour = Duration::from_secs(3600);
        assert_eq!(CancelToken::default().left_of(hour), hour);
        let asked = CancelToken { asked_at: Instant::now().checked_sub(hour / 2), ..CancelToken::default() };
        assert!(asked.nested().left_of(hour) <= hour / 2);
        assert_eq!(asked.left_of(hour / 4), Duration::ZERO);
    }

    #[test]
    fn a_first_try_fails_when_its_time_is_over_and_the_operation_does_not() {
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
    fn a_cancellation_after_the_commit_point_comes_too_late() {
        let cancel = CancelToken::default();
        cancel.commit().unwrap();
        assert!(!cancel.cancel());
        assert!(cancel.check().is_ok());
    }
}
