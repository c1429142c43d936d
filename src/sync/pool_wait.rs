//! Tells a thread pool that one of its threads waits, so that another works in its place.

use std::cell::Cell;

/// A thread pool, as its threads see it.
pub trait WaitingPool: Sync {
    /// One of its threads begins to wait. Returns whether another may work in its place.
    fn replace_waiting(&'static self) -> bool;

    /// A thread that was replaced works again.
    fn take_back(&self);
}

thread_local! {
    static POOL: Cell<Option<&'static dyn WaitingPool>> = const { Cell::new(None) };
}

/// Makes this thread one of `pool`.
pub fn join_pool(pool: &'static dyn WaitingPool) {
    POOL.set(Some(pool));
}

/// Runs `wait`, which does nothing but wait, and has the pool of this thread go on meanwhile.
pub fn wait_in_pool<T>(wait: impl FnOnce() -> T) -> T {
    let replaced = POOL.get().filter(|pool| pool.replace_waiting());
    let _replaced = Replaced(replaced);
    wait()
}

/// Works again when it is dropped, a panic included.
struct Replaced(Option<&'static dyn WaitingPool>);

impl Drop for Replaced {
    fn drop(&mut self) {
        if let Some(pool) = self.0 {
            pool.take_back();
        }
    }
}
