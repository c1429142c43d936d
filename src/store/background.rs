//! A queue for long work that an operation starts and does not wait for.

use std::sync::OnceLock;

/// A unit of work.
pub type BackgroundWork = Box<dyn FnOnce() + Send>;

/// Queues work. Drops the work if it cannot be queued.
type Queue = fn(BackgroundWork);

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Sets the queue that deletes the content of a removal whose process died. `queue` runs its work on a thread for
/// long jobs.
///
/// Without a queue, the operation that finds the removal deletes all of it. Only the first call in a process has an
/// effect.
pub fn delete_in_background(queue: Queue) {
    let _first = QUEUE.set(queue);
}

/// Returns the queue, if one is set.
pub fn queue() -> Option<Queue> {
    QUEUE.get().copied()
}
