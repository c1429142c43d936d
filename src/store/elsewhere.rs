//! Long work that an operation meets and does not wait for.

use std::sync::OnceLock;

/// A piece of work.
pub type Work = Box<dyn FnOnce() + Send>;

/// Queues work, or drops it where that is impossible.
type Queue = fn(Work);

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Has the content that a dead process's removal left deleted by `queue`, on whichever thread runs long work. Without it,
/// the operation that meets the removal deletes all of it. The first call in a process counts.
pub fn delete_elsewhere(queue: Queue) {
    let _first = QUEUE.set(queue);
}

/// The queue for such work, if there is one.
pub fn queue() -> Option<Queue> {
    QUEUE.get().copied()
}
