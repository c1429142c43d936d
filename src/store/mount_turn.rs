//! One at a time mounts or unmounts an attachment.

use crate::error::{Error, Result};
use crate::model::{Cancel, LONGEST_WAIT};
use std::collections::HashSet;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a cancellation is looked for while waiting.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

struct Turns {
    taken: Mutex<HashSet<i64>>,
    given_back: Condvar,
}

static TURNS: LazyLock<Turns> =
    LazyLock::new(|| Turns { taken: Mutex::default(), given_back: Condvar::new() });

/// The turn of whoever holds it, until dropped.
#[derive(Debug)]
pub struct MountTurn(i64);

impl MountTurn {
    /// Waits for the turn at an attachment, until the deadline.
    pub fn take(attachment: i64, deadline: Instant, cancel: &Cancel) -> Result<Self> {
        let mut taken = TURNS.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while !taken.insert(attachment) {
            cancel.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Error::attachment_busy(attachment, LONGEST_WAIT));
            }
            let waited = TURNS.given_back.wait_timeout(taken, left.min(LOOK_AGAIN));
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(MountTurn(attachment))
    }
}

impl Drop for MountTurn {
    fn drop(&mut self) {
        TURNS.taken.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
        TURNS.given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_turn_is_waited_for_until_the_deadline_only() {
        let take = || MountTurn::take(-1, Instant::now(), &Cancel::default());
        let turn = take().unwrap();
        assert_eq!(take().unwrap_err().kind(), ErrorKind::VolumeInUse);
        drop(turn);
        take().unwrap();
    }
}
