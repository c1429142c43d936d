//! Reports to a thread pool that one of its threads waits, so that another thread works in its place.

use std::cell::Cell;

/// The interface of a thread pool for its threads.
pub trait WaitingPool: Sync {
    /// Reports that a thread of the pool begins to wait. Returns whether another thread works in its place.
    fn replace_waiting(&'static self) -> bool;

    /// Reports that a replaced thread works again.
    fn take_back(&self);
}

thread_local! {
    static POOL: Cell<Option<&'static dyn WaitingPool>> = const { Cell::new(None) };
}

/// Registers this thread as one of `pool`.
pub fn join_pool(pool: &'static dyn WaitingPool) {
    POOL.set(Some(pool));
}

/// Runs `wait`, which only waits, and lets another thread of the pool work in its place.
pub fn wait_in_pool<T>(wait: impl FnOnce() -> T) -> T {
    let replaced = POOL.get().filter(|pool| pool.replace_waiting());
    let _replaced = Replaced(replaced);
    wait()
}

/// Reports on drop that the thread works again, also after a panic.
struct Replaced(Option<&'static dyn WaitingPool>);

impl Drop for Replaced {
    fn drop(&mut self) {
        if let Some(pool) = self.0 {
            pool.take_back();
        }
    }
}
