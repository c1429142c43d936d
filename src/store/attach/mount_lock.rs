//! Excludes concurrent mounts and unmounts of one attachment.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, KeyedGuard, KeyedLock, LOCK_TIMEOUT};
use std::sync::LazyLock;
use std::time::Instant;

/// The lock of one attachment. Dropping it releases the lock.
#[derive(Debug)]
pub struct MountLock(#[expect(dead_code, reason = "it is held")] KeyedGuard<'static, i64>);

impl MountLock {
    /// Acquires the lock of an attachment. Fails if it is still held at `deadline`.
    pub fn acquire(attachment: i64, deadline: Instant, cancel: &CancelToken) -> Result<Self> {
        static LOCKS: LazyLock<KeyedLock<i64>> = LazyLock::new(KeyedLock::default);
        let guard = LOCKS.acquire(&attachment, deadline, cancel)?;
        guard.map(MountLock).ok_or_else(|| Error::attachment_busy(attachment, LOCK_TIMEOUT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_lock_is_waited_for_until_the_deadline_only() {
        let acquire = || MountLock::acquire(-1, Instant::now(), &CancelToken::default());
        let lock = acquire().unwrap();
        assert_eq!(acquire().unwrap_err().kind(), ErrorKind::VolumeInUse);
        drop(lock);
        acquire().unwrap();
    }
}
