//! The queue of feeds that wait for the JavaScript thread, and the accounting of copied data.

use super::dispatch::{Dispatcher, current};
use super::executor::{self, Pool};
use super::feed::BufferFeed;
use crate::sync::IgnorePoison;
use napi::Env;
use std::collections::VecDeque;
use std::mem;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

/// How much is copied at a time: 1 MiB.
pub const SLICE_BYTES: usize = 1 << 20;

/// How much is copied in one turn of the event loop: 4 MiB.
const MAX_BYTES_PER_TURN: usize = 4 << 20;

/// How much one environment holds in slices: 16 MiB.
const MAX_IN_FLIGHT: usize = 16 << 20;

/// How much data that was copied during calls one environment holds: 8 MiB.
const MAX_COPIED_IN_CALLS: usize = 8 << 20;

/// How many buffers are kept for reuse. The page faults of new buffers take longer than the copying.
const MAX_SPARE: usize = 8;

/// The feeds of one environment with a pending request. Copying yields to the event loop after
/// [`MAX_BYTES_PER_TURN`], and stops while [`MAX_IN_FLIGHT`] bytes of slices are in use.
#[derive(Default)]
pub struct FeedQueue(Mutex<FeedQueueState>);

#[derive(Default)]
struct FeedQueueState {
    waiting: VecDeque<Arc<BufferFeed>>,
    /// Bytes of slices that the JavaScript thread copied for waiting jobs.
    in_flight: usize,
    copied_in_calls: usize,
    spare: Vec<Vec<u8>>,
    /// Whether copying waits for the next turn of the event loop.
    is_yielding: bool,
    /// Whether the environment has ended, so that no feed is taken out any more.
    has_ended: bool,
}

/// At most [`SLICE_BYTES`] copied bytes, charged to their environment.
pub struct CopiedSlice {
    bytes: Vec<u8>,
    owner: Arc<Dispatcher>,
    is_fed: bool,
}

impl CopiedSlice {
    /// Copies bytes during a call. Returns `None` if calls have copied so much that it reaches
    /// [`MAX_COPIED_IN_CALLS`].
    pub fn in_call(env: &Env, bytes: &[u8]) -> napi::Result<Option<Self>> {
        let owner = current(env)?;
        let mut queue = owner.feeds.lock();
        if queue.copied_in_calls + SLICE_BYTES > MAX_COPIED_IN_CALLS {
            return Ok(None);
        }
        queue.copied_in_calls += SLICE_BYTES;
        let buffer = queue.spare.pop();
        drop(queue);
        Ok(Some(CopiedSlice { bytes: filled(buffer, bytes), owner, is_fed: false }))
    }

    /// Copies bytes that a job waits for.
    pub fn fed(owner: &Arc<Dispatcher>, bytes: &[u8]) -> Self {
        let mut queue = owner.feeds.lock();
        queue.in_flight += SLICE_BYTES;
        let buffer = queue.spare.pop();
        drop(queue);
        CopiedSlice { bytes: filled(buffer, bytes), owner: owner.clone(), is_fed: true }
    }
}

fn filled(buffer: Option<Vec<u8>>, bytes: &[u8]) -> Vec<u8> {
    let mut buffer = buffer.unwrap_or_else(|| Vec::with_capacity(SLICE_BYTES));
    buffer.clear();
    buffer.extend_from_slice(bytes);
    buffer
}

impl Deref for CopiedSlice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for CopiedSlice {
    fn drop(&mut self) {
        let mut queue = self.owner.feeds.lock();
        match self.is_fed {
            true => queue.in_flight -= SLICE_BYTES,
            false => queue.copied_in_calls -= SLICE_BYTES,
        }
        if queue.spare.len() < MAX_SPARE {
            queue.spare.push(mem::take(&mut self.bytes));
        }
        if !queue.waiting.is_empty() && !queue.is_yielding {
            drop(queue);
            self.owner.wake();
        }
    }
}

impl FeedQueue {
    fn lock(&self) -> MutexGuard<'_, FeedQueueState> {
        self.0.lock().ignore_poison()
    }

    /// Serves pending requests, on the JavaScript thread.
    pub fn serve(&self, env: &Env) {
        let mut copied = 0;
        while let Some(feed) = self.next() {
            copied += feed.serve(env);
            if copied >= MAX_BYTES_PER_TURN {
                self.yield_to_loop(&feed.owner);
            }
        }
    }

    fn next(&self) -> Option<Arc<BufferFeed>> {
        let mut queue = self.lock();
        match queue.is_yielding || queue.in_flight >= MAX_IN_FLIGHT {
            true => None,
            false => queue.waiting.pop_front(),
        }
    }

    /// Whether less than half of [`MAX_IN_FLIGHT`] is in use.
    pub fn is_half_empty(&self) -> bool {
        self.lock().in_flight < MAX_IN_FLIGHT / 2
    }

    /// Continues in the next turn of the event loop. Node.js calls a threadsafe function again at once if it
    /// was woken during the call, so another thread wakes it.
    fn yield_to_loop(&self, owner: &Arc<Dispatcher>) {
        self.lock().is_yielding = true;
        let waker = owner.clone();
        let resume = move || {
            waker.feeds.lock().is_yielding = false;
            waker.wake();
        };
        if executor::submit(Pool::Fast, Box::new(resume)).is_err() {
            self.lock().is_yielding = false;
        }
    }

    /// Fails all jobs that wait for data.
    pub fn end(&self) {
        let mut queue = self.lock();
        queue.has_ended = true;
        let waiting = mem::take(&mut queue.waiting);
        drop(queue);
        for feed in waiting {
            feed.end();
        }
    }

    /// Queues a feed, unless the environment has ended. The JavaScript thread serves it when it is woken.
    pub fn push(&self, feed: Arc<BufferFeed>) {
        let mut queue = self.lock();
        if !queue.has_ended {
            queue.waiting.push_back(feed);
        }
    }
}
