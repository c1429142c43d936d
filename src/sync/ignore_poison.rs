//! Locks that stay usable after a thread panicked while it held one.

use std::sync::{LockResult, PoisonError};

/// Access to a lock whatever its poison flag says: what each lock of this crate guards is valid between any two
/// statements.
pub trait IgnorePoison<G> {
    /// Returns the guard, also if a thread panicked while it held the lock.
    fn ignore_poison(self) -> G;
}

impl<G> IgnorePoison<G> for LockResult<G> {
    fn ignore_poison(self) -> G {
        self.unwrap_or_else(PoisonError::into_inner)
    }
}
