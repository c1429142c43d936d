//! Threads that copy the entries that the walk queues. The walking thread helps if the others do not keep up. So the
//! queue stays short and few descriptors are open.

use super::entry::{TaskBatch, copy_batch};
use super::job::CopyContext;
use crate::error::{Error, Result};
use crate::sync::IgnorePoison;
use crate::sys::TransferBuffer;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::{self, Scope};

/// The most threads of one copy, the walking thread included. Creating files takes most of the time, and file systems
/// do not do that on many threads at once.
const MAX_THREADS: usize = 4;

/// The most batches in the queue. Each holds a pair of directories open.
const MAX_QUEUED_BATCHES: usize = 8;

#[derive(Default)]
pub struct WorkerShared {
    state: Mutex<WorkerState>,
    changed: Condvar,
}

#[derive(Default)]
struct WorkerState {
    queued: VecDeque<TaskBatch>,
    busy: usize,
    threads: usize,
    is_closed: bool,
    failure: Option<Error>,
    has_failed: bool,
}

pub struct WorkerPool<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    shared: &'scope WorkerShared,
    context: &'scope CopyContext,
    max_threads: usize,
    buffer: TransferBuffer,
}

/// Runs `work` with a worker pool. Returns when all workers have ended.
pub fn with_workers<T>(
    context: &CopyContext,
    work: impl FnOnce(&mut WorkerPool<'_, '_>) -> Result<T>,
) -> Result<T> {
    let shared = WorkerShared::default();
    let result = thread::scope(|scope| {
        let max_threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS) - 1;
        let buffer = TransferBuffer::default();
        let mut pool = WorkerPool { scope, shared: &shared, context, max_threads, buffer };
        let result = work(&mut pool).and_then(|value| pool.finish().map(|()| value));
        shared.close(result.is_err());
        result
    });
    // Reports the error of the thread that failed first.
    let failure = shared.lock().failure.take();
    failure.map_or(result, Err)
}

impl WorkerPool<'_, '_> {
    /// Queues a batch. Copies one on this thread if the queue is full.
    pub fn push(&mut self, batch: TaskBatch) -> Result<()> {
        let mut state = self.shared.lock();
        if state.has_failed {
            return Err(Error::aborted());
        }
        state.queued.push_back(batch);
        let spawns = state.threads < self.max_threads && state.queued.len() > state.threads - state.busy;
        if spawns {
            state.threads += 1;
        }
        let own = (state.queued.len() > MAX_QUEUED_BATCHES || self.max_threads == 0)
            .then(|| state.queued.pop_front())
            .flatten();
        drop(state);
        if spawns {
            let (shared, context) = (self.shared, self.context);
            let spawned = thread::Builder::new()
                .name("volumes-copy".to_owned())
                .spawn_scoped(self.scope, move || shared.work(context));
            if spawned.is_err() {
                self.max_threads = self.shared.remove_thread();
            }
        }
        self.shared.changed.notify_one();
        own.map_or(Ok(()), |batch| copy_batch(self.context, &mut self.buffer, batch))
    }

    /// Copies queued batches until all that were pushed are copied.
    pub fn finish(&mut self) -> Result<()> {
        loop {
            let mut state = self.shared.lock();
            while state.queued.is_empty() && state.busy > 0 {
                state = self.shared.changed.wait(state).ignore_poison();
            }
            if state.has_failed {
                return Err(Error::aborted());
            }
            let Some(batch) = state.queued.pop_front() else { return Ok(()) };
            drop(state);
            copy_batch(self.context, &mut self.buffer, batch)?;
        }
    }
}

impl WorkerShared {
    fn lock(&self) -> MutexGuard<'_, WorkerState> {
        self.state.lock().ignore_poison()
    }

    fn work(&self, context: &CopyContext) {
        let mut buffer = TransferBuffer::default();
        while let Some((batch, busy)) = self.next() {
            if let Err(error) = copy_batch(context, &mut buffer, batch) {
                busy.0.fail(error);
            }
        }
    }

    fn next(&self) -> Option<(TaskBatch, BusyGuard<'_>)> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.queued.pop_front() {
                state.busy += 1;
                return Some((batch, BusyGuard(self)));
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).ignore_poison();
        }
    }

    fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.queued.clear();
        state.has_failed = true;
        state.failure.get_or_insert(error);
    }

    fn close(&self, failed: bool) {
        let mut state = self.lock();
        state.is_closed = true;
        if failed {
            state.queued.clear();
        }
        self.changed.notify_all();
    }

    fn remove_thread(&self) -> usize {
        let mut state = self.lock();
        state.threads -= 1;
        state.threads
    }
}

/// Marks a thread as idle when it is dropped, also after a panic.
struct BusyGuard<'s>(&'s WorkerShared);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}
