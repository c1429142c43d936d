//! The queue of jobs that want data of one JavaScript environment, and what it holds of copied data.

use super::dispatch::{Dispatcher, current};
use super::executor::{self, Pool};
use super::feed::Feed;
use crate::sync::IgnorePoison;
use napi::Env;
use std::collections::VecDeque;
use std::mem;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard};

/// How much is copied at a time, 1 MiB.
pub const SLICE_BYTES: usize = 1 << 20;

/// How much is copied in one turn of the event loop, 4 MiB.
const BURST: usize = 4 << 20;

/// How much one environment holds in slices, 16 MiB.
const MAX_IN_FLIGHT: usize = 16 << 20;

/// How much one environment holds of data that was copied in the call, 8 MiB.
const MAX_COPIED_IN_CALLS: usize = 8 << 20;

/// How many buffers are kept to be used again: the page faults of new ones take longer than the copying.
const MAX_SPARE: usize = 8;

/// The jobs of one environment that want data. Copying yields to the event loop after [`BURST`], and stops while
/// [`MAX_IN_FLIGHT`] bytes are copied that no job is done with.
#[derive(Default)]
pub struct FeedQueue(Mutex<FeedQueueState>);

#[derive(Default)]
struct FeedQueueState {
    hungry: VecDeque<Arc<Feed>>,
    /// Bytes, by what they are charged to.
    in_flight: usize,
    copied_in_calls: usize,
    spare: Vec<Vec<u8>>,
    /// Whether copying waits for the event loop to turn.
    is_yielding: bool,
}

/// At most [`SLICE_BYTES`] bytes that were copied, and are charged to their environment.
pub struct CopiedSlice {
    bytes: Vec<u8>,
    owner: Arc<Dispatcher>,
    is_fed: bool,
}

impl CopiedSlice {
    /// Copies bytes in a call, unless much is copied already that no job is done with.
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
        if !queue.hungry.is_empty() && !queue.is_yielding {
            drop(queue);
            self.owner.wake();
        }
    }
}

impl FeedQueue {
    fn lock(&self) -> MutexGuard<'_, FeedQueueState> {
        self.0.lock().ignore_poison()
    }

    /// Copies what is wanted, on the JavaScript thread.
    pub fn serve(&self, env: &Env) {
        let mut copied = 0;
        while let Some(feed) = self.next() {
            copied += feed.serve(env);
            if copied >= BURST {
                self.yield_to_loop(&feed.owner);
            }
        }
    }

    fn next(&self) -> Option<Arc<Feed>> {
        let mut queue = self.lock();
        match queue.is_yielding || queue.in_flight >= MAX_IN_FLIGHT {
            true => None,
            false => queue.hungry.pop_front(),
        }
    }

    /// Whether less than half of what may be in flight is.
    pub fn is_half_empty(&self) -> bool {
        self.lock().in_flight < MAX_IN_FLIGHT / 2
    }

    /// Goes on when the event loop has turned. Node calls a threadsafe function again at once if it was woken during
    /// the call, so another thread wakes it.
    fn yield_to_loop(&self, owner: &Arc<Dispatcher>) {
        self.lock().is_yielding = true;
        let waker = owner.clone();
        let go_on = move || {
            waker.feeds.lock().is_yielding = false;
            waker.wake();
        };
        if executor::submit(Pool::Fast, Box::new(go_on)).is_err() {
            self.lock().is_yielding = false;
        }
    }

    /// Ends what waits for data.
    pub fn end(&self) {
        let hungry = mem::take(&mut self.lock().hungry);
        for feed in hungry {
            feed.end();
        }
    }

    /// Queues a feed, which the JavaScript thread serves when it is woken.
    pub fn push(&self, feed: Arc<Feed>) {
        self.lock().hungry.push_back(feed);
    }
}
