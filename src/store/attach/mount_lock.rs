//! One at a time mounts or unmounts an attachment.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, KeyedGuard, KeyedLock, LONGEST_WAIT};
use std::sync::LazyLock;
use std::time::Instant;

/// The turn of whoever holds it, until dropped.
#[derive(Debug)]
pub struct MountLock(#[expect(dead_code, reason = "it is held")] KeyedGuard<'static, i64>);

impl MountLock {
    /// Waits for the turn at an attachment, until the deadline.
    pub fn take(attachment: i64, deadline: Instant, cancel: &CancelToken) -> Result<Self> {
        static TURNS: LazyLock<KeyedLock<i64>> = LazyLock::new(KeyedLock::default);
        let taken = TURNS.take(&attachment, deadline, cancel)?;
        taken.map(MountLock).ok_or_else(|| Error::attachment_busy(attachment, LONGEST_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_turn_is_waited_for_until_the_deadline_only() {
        let take = || MountLock::take(-1, Instant::now(), &CancelToken::default());
        let turn = take().unwrap();
        assert_eq!(take().unwrap_err().kind(), ErrorKind::VolumeInUse);
        drop(turn);
        take().unwrap();
    }
}
