//! Feeds: data of JavaScript for jobs on other threads.
//!
//! JavaScript can detach, resize or share the memory of a buffer at any moment, so only its own thread
//! touches it. That thread copies the data slice by slice, and a job works on the copies. A job without a
//! slice waits without a thread.
//!
//! Jobs that still wait for other jobs get at most half of the slices that an environment may hold. The rest
//! is for jobs that wait for nothing else.

use super::dispatch::{Dispatcher, current};
use super::feed_queue::{CopiedSlice, SLICE_BYTES};
use crate::error::{Errno, Error, Result};
use crate::sync::IgnorePoison;
use crate::sys::reserve_memory;
use napi::bindgen_prelude::{FromNapiValue, Object, ObjectRef, Uint8ArraySlice, Unknown};
use napi::{Env, JsValue};
use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

/// How many slices are copied ahead for one job.
const MAX_AHEAD: usize = 4;

type Resumption = Box<dyn FnOnce() + Send>;

/// The data of one buffer, with the length that the buffer had in the call.
pub struct BufferFeed {
    pub owner: Arc<Dispatcher>,
    length: usize,
    state: Mutex<FeedState>,
}

struct FeedState {
    /// The buffer, until all of it is copied.
    source: Option<ObjectRef<false>>,
    request: FeedRequest,
    copied: usize,
    ready: VecDeque<CopiedSlice>,
    collected: Vec<u8>,
    fault: Option<FeedFault>,
    /// Resumes the job once its request is served.
    parked: Option<Resumption>,
    is_queued: bool,
}

/// The request of a job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FeedRequest {
    /// Check that the buffer is still there. Copies slices only if less than half of the limit is in use,
    /// because the job may still wait for a job that needs slices itself.
    Check,
    Slices,
    /// All of the data, in `collected`.
    All,
    /// Release the buffer: the job has ended.
    Release,
}

#[derive(Clone, Copy)]
enum FeedFault {
    /// The buffer was detached or became shorter.
    Lost,
    /// The environment has ended.
    Ended,
}

impl From<FeedFault> for Error {
    fn from(fault: FeedFault) -> Self {
        match fault {
            FeedFault::Lost => lost_data_error(),
            FeedFault::Ended => Error::aborted(),
        }
    }
}

/// Creates the error of a buffer that was lost.
pub fn lost_data_error() -> Error {
    let problem = "its buffer was transferred or became too short before it was copied; leave it alone until the \
                   promise settles, or pass a copy";
    Error::invalid_config("data", problem)
}

impl BufferFeed {
    fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().ignore_poison()
    }

    /// Serves the next part of the request. Returns how many bytes it copied.
    pub fn serve(self: &Arc<Self>, env: &Env) -> usize {
        let mut state = self.lock();
        state.is_queued = false;
        let copied = match state.request {
            FeedRequest::Release => 0,
            _ => self.copy(&mut state, env),
        };
        if state.request == FeedRequest::Release || state.copied == self.length || state.fault.is_some() {
            // If Node.js cannot release the reference now, the end of the environment does.
            let _released = state.source.take().map(|source| source.unref(env));
        }
        let (wants_more, is_served) = match state.request {
            FeedRequest::Release => (false, true),
            FeedRequest::Check => (state.ready.len() < MAX_AHEAD && self.owner.feeds.is_half_empty(), true),
            FeedRequest::Slices => (state.ready.len() < MAX_AHEAD, true),
            FeedRequest::All => (true, state.source.is_none()),
        };
        if wants_more && state.source.is_some() {
            self.enqueue(&mut state);
        }
        let resumption = if is_served { state.parked.take() } else { None };
        drop(state);
        if let Some(resume) = resumption {
            resume();
        }
        copied
    }

    fn copy(&self, state: &mut FeedState, env: &Env) -> usize {
        let object = state.source.as_ref().map(|source| source.get_value(env));
        let bytes = object.map(|object| Uint8ArraySlice::from_unknown(object?.to_unknown()));
        // A detached buffer is empty. A view is empty too if its buffer became too short for it.
        let Some(bytes) = bytes.and_then(napi::Result::ok).filter(|bytes| bytes.len() >= self.length) else {
            state.fault = Some(FeedFault::Lost);
            return 0;
        };
        let next = &bytes[state.copied..self.length.min(state.copied + SLICE_BYTES)];
        match state.request {
            FeedRequest::Release => return 0,
            FeedRequest::Check if !self.owner.feeds.is_half_empty() => return 0,
            FeedRequest::All => state.collected[state.copied..][..next.len()].copy_from_slice(next),
            FeedRequest::Check | FeedRequest::Slices => {
                state.ready.push_back(CopiedSlice::fed(&self.owner, next))
            }
        }
        state.copied += next.len();
        next.len()
    }

    fn enqueue(self: &Arc<Self>, state: &mut FeedState) {
        state.is_queued = true;
        self.owner.feeds.push(self.clone());
    }

    /// Queues the request for the JavaScript thread, if there is more to copy.
    fn send_request(self: &Arc<Self>, state: &mut FeedState) {
        if !state.is_queued && state.source.is_some() {
            self.enqueue(state);
            self.owner.wake();
        }
    }

    /// Fails the job because its environment has ended.
    pub fn end(&self) {
        let mut state = self.lock();
        state.fault = Some(FeedFault::Ended);
        let resumption = state.parked.take();
        drop(state);
        if let Some(resume) = resumption {
            resume();
        }
    }
}

/// The next part of the data.
pub enum NextSlice {
    /// The next bytes.
    Bytes(CopiedSlice),
    /// The next bytes are not copied yet.
    Pending,
    /// All bytes were returned.
    End,
}

/// The job's access to the data of one buffer.
pub struct FeedReader(Arc<BufferFeed>);

impl FeedReader {
    /// Keeps a reference to a `Uint8Array` of `length` bytes. A job requests the copies.
    pub fn from_js(env: &Env, bytes: Unknown<'_>, length: usize) -> napi::Result<Self> {
        let state = FeedState {
            source: Some(Object::from_unknown(bytes)?.create_ref()?),
            request: FeedRequest::Check,
            copied: 0,
            ready: VecDeque::new(),
            collected: Vec::new(),
            fault: None,
            parked: None,
            is_queued: false,
        };
        Ok(FeedReader(Arc::new(BufferFeed { owner: current(env)?, length, state: Mutex::new(state) })))
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.0.length
    }

    /// Takes the next slice, and requests the one after it. Fails if the buffer was detached or made shorter.
    pub fn next(&self) -> Result<NextSlice> {
        let mut state = self.0.lock();
        let slice = state.ready.pop_front();
        state.request = FeedRequest::Slices;
        match (slice, state.fault) {
            (_, Some(fault)) => Err(fault.into()),
            (Some(slice), None) => {
                self.0.send_request(&mut state);
                Ok(NextSlice::Bytes(slice))
            }
            (None, None) if state.copied == self.0.length => Ok(NextSlice::End),
            (None, None) => Ok(NextSlice::Pending),
        }
    }

    /// Fails if the JavaScript thread found the buffer detached or shorter.
    pub fn check(&self) -> Result<()> {
        self.0.lock().fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Calls `resume` once the JavaScript thread has checked that the buffer is still there: see
    /// [`FeedReader::check`].
    pub fn when_checked(self, resume: impl FnOnce(Self) + Send + 'static) {
        self.park(resume);
    }

    /// Calls `resume` once [`FeedReader::next`] returns bytes, the end or an error.
    pub fn when_ready(self, resume: impl FnOnce(Self) + Send + 'static) {
        let is_ready = !self.0.lock().ready.is_empty();
        match is_ready {
            true => resume(self),
            false => self.park(resume),
        }
    }

    /// Reserves memory for all of the data. Called before the first [`FeedReader::next`].
    pub fn reserve_all(&self) -> Result<()> {
        let memory = reserve_memory(self.0.length);
        let mut collected = memory.map_err(|_| Error::file_system("write", "", Errno::ENOMEM.into()))?;
        // Moves the page faults off the JavaScript thread.
        collected.resize(self.0.length, 0);
        let mut state = self.0.lock();
        let mut at = 0;
        for slice in state.ready.drain(..) {
            collected[at..][..slice.len()].copy_from_slice(&slice);
            at += slice.len();
        }
        state.collected = collected;
        state.request = FeedRequest::All;
        Ok(())
    }

    /// Calls `resume` once all data is copied to the reserved memory, or cannot be copied: see
    /// [`FeedReader::take_all`].
    pub fn when_collected(self, resume: impl FnOnce(Self) + Send + 'static) {
        self.park(resume);
    }

    /// Takes the collected data. Fails if the buffer was detached or made shorter.
    pub fn take_all(&self) -> Result<Vec<u8>> {
        self.check()?;
        Ok(mem::take(&mut self.0.lock().collected))
    }

    fn park(self, resume: impl FnOnce(Self) + Send + 'static) {
        let feed = self.0.clone();
        let mut state = feed.lock();
        if state.source.is_none() {
            drop(state);
            return resume(self);
        }
        state.parked = Some(Box::new(move || resume(self)));
        feed.send_request(&mut state);
        drop(state);
        // An environment that has ended serves no request.
        if feed.owner.is_over() {
            feed.end();
        }
    }
}

impl Drop for FeedReader {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.request = FeedRequest::Release;
        state.parked = None;
        let copied = (mem::take(&mut state.ready), mem::take(&mut state.collected));
        self.0.send_request(&mut state);
        drop(state);
        drop(copied);
    }
}
