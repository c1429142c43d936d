//! Threads that copy what the walker hands out. The walker helps where they do not keep up, so that little waits and
//! few descriptors are held.

use super::entry::{TaskBatch, copy_batch};
use super::job::CopyContext;
use crate::error::{Error, Result};
use crate::sync::IgnorePoison;
use crate::sys::TransferBuffer;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::thread::{self, Scope};

/// How many threads copy at most, the walker included: creating files is what takes the time, and file systems do not
/// do that on many threads at once.
const MAX_THREADS: usize = 4;

/// How many batches wait at most. Each holds a pair of directories open.
const MAX_WAITING: usize = 8;

#[derive(Default)]
pub struct WorkerShared {
    state: Mutex<WorkerState>,
    changed: Condvar,
}

#[derive(Default)]
struct WorkerState {
    waiting: VecDeque<TaskBatch>,
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
    most_threads: usize,
    buffer: TransferBuffer,
}

/// Has a crew help with `work`, and ends when the crew has ended as well.
pub fn with_workers<T>(
    context: &CopyContext,
    work: impl FnOnce(&mut WorkerPool<'_, '_>) -> Result<T>,
) -> Result<T> {
    let shared = WorkerShared::default();
    let result = thread::scope(|scope| {
        let most_threads = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS) - 1;
        let buffer = TransferBuffer::default();
        let mut crew = WorkerPool { scope, shared: &shared, context, most_threads, buffer };
        let result = work(&mut crew).and_then(|value| crew.finish().map(|()| value));
        shared.close(result.is_err());
        result
    });
    // Whoever failed first is who tells why.
    let failure = shared.lock().failure.take();
    failure.map_or(result, Err)
}

impl WorkerPool<'_, '_> {
    /// Hands a batch out, or copies one where enough are waiting.
    pub fn push(&mut self, batch: TaskBatch) -> Result<()> {
        let mut state = self.shared.lock();
        if state.has_failed {
            return Err(Error::aborted());
        }
        state.waiting.push_back(batch);
        let spawns = state.threads < self.most_threads && state.waiting.len() > state.threads - state.busy;
        if spawns {
            state.threads += 1;
        }
        let own = (state.waiting.len() > MAX_WAITING || self.most_threads == 0)
            .then(|| state.waiting.pop_front())
            .flatten();
        drop(state);
        if spawns {
            let (shared, context) = (self.shared, self.context);
            let spawned = thread::Builder::new()
                .name("volumes-copy".to_owned())
                .spawn_scoped(self.scope, move || shared.work(context));
            if spawned.is_err() {
                self.most_threads = self.shared.lost_a_thread();
            }
        }
        self.shared.changed.notify_one();
        own.map_or(Ok(()), |batch| copy_batch(self.context, &mut self.buffer, batch))
    }

    /// Waits until everything that was handed out is copied, and helps.
    pub fn finish(&mut self) -> Result<()> {
        loop {
            let mut state = self.shared.lock();
            while state.waiting.is_empty() && state.busy > 0 {
                state = self.shared.changed.wait(state).ignore_poison();
            }
            if state.has_failed {
                return Err(Error::aborted());
            }
            let Some(batch) = state.waiting.pop_front() else { return Ok(()) };
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

    fn next(&self) -> Option<(TaskBatch, Busy<'_>)> {
        let mut state = self.lock();
        loop {
            if let Some(batch) = state.waiting.pop_front() {
                state.busy += 1;
                return Some((batch, Busy(self)));
            }
            if state.is_closed {
                return None;
            }
            state = self.changed.wait(state).ignore_poison();
        }
    }

    fn fail(&self, error: Error) {
        let mut state = self.lock();
        state.waiting.clear();
        state.has_failed = true;
        state.failure.get_or_insert(error);
    }

    fn close(&self, failed: bool) {
        let mut state = self.lock();
        state.is_closed = true;
        if failed {
            state.waiting.clear();
        }
        self.changed.notify_all();
    }

    fn lost_a_thread(&self) -> usize {
        let mut state = self.lock();
        state.threads -= 1;
        state.threads
    }
}

/// Ends a thread's being busy, also where it panicked.
struct Busy<'s>(&'s WorkerShared);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.lock().busy -= 1;
        self.0.changed.notify_all();
    }
}
