//! Locks, slots, waiting and cancellation for concurrent operations.

#![forbid(unsafe_code)]

mod cancel_token;
mod ignore_poison;
mod keyed_lock;
mod pool_wait;
mod relay;
mod slots;

pub use cancel_token::{CancelToken, LOCK_TIMEOUT, SLICE};
pub use ignore_poison::IgnorePoison;
pub use keyed_lock::{KeyedGuard, KeyedLock};
pub use pool_wait::{WaitingPool, join_pool, wait_in_pool};
pub use relay::{Baton, Relay};
pub use slots::{Slot, Slots};
