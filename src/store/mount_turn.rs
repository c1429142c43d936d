//! One at a time mounts or unmounts an attachment.

use crate::error::Result;
use crate::model::Cancel;
use std::collections::HashSet;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::time::Duration;

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
    /// Waits for the turn at an attachment.
    pub fn take(attachment: i64, cancel: &Cancel) -> Result<Self> {
        let mut taken = TURNS.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while !taken.insert(attachment) {
            cancel.check()?;
            taken =
                TURNS.given_back.wait_timeout(taken, LOOK_AGAIN).unwrap_or_else(PoisonError::into_inner).0;
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
