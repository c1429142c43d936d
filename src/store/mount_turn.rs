//! One at a time mounts or unmounts an attachment.

use crate::error::{Error, Result};
use crate::model::{Cancel, LONGEST_WAIT, OneAtATime, Taken};
use std::sync::LazyLock;
use std::time::Instant;

/// The turn of whoever holds it, until dropped.
#[derive(Debug)]
pub struct MountTurn(#[expect(dead_code, reason = "it is held")] Taken<'static, i64>);

impl MountTurn {
    /// Waits for the turn at an attachment, until the deadline.
    pub fn take(attachment: i64, deadline: Instant, cancel: &Cancel) -> Result<Self> {
        static TURNS: LazyLock<OneAtATime<i64>> = LazyLock::new(OneAtATime::default);
        let taken = TURNS.take(&attachment, deadline, cancel)?;
        taken.map(MountTurn).ok_or_else(|| Error::attachment_busy(attachment, LONGEST_WAIT))
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
