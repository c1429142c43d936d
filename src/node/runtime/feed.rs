//! Data of JavaScript for jobs on other threads.
//!
//! JavaScript can detach, resize or share the memory of a buffer at any moment, so only its own thread touches it: it
//! copies the data slice by slice, a job works on the copies, and a job that has none waits without a thread.
//!
//! Jobs that still wait for others get no more than half of what an environment may hold in slices, so that those which
//! wait for nothing else go on.

use super::dispatch::{Dispatcher, current};
use super::feed_queue::{CopiedSlice, SLICE_BYTES};
use crate::error::{Error, Result};
use crate::store::reserve_memory;
use crate::sync::IgnorePoison;
use napi::bindgen_prelude::{FromNapiValue, Object, ObjectRef, Uint8ArraySlice, Unknown};
use napi::{Env, JsValue};
use nix::errno::Errno;
use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

/// How many slices are copied ahead for one job.
const MAX_AHEAD: usize = 4;

type Resumption = Box<dyn FnOnce() + Send>;

/// The data of one buffer, as long as it was in the call.
pub struct Feed {
    pub owner: Arc<Dispatcher>,
    length: usize,
    state: Mutex<FeedState>,
}

struct FeedState {
    /// The buffer, until it is copied.
    source: Option<ObjectRef<false>>,
    wanted: Wanted,
    copied: usize,
    ready: VecDeque<CopiedSlice>,
    whole: Vec<u8>,
    fault: Option<Fault>,
    /// Resumes the job when what it wants is there.
    parked: Option<Resumption>,
    is_queued: bool,
}

/// What a job wants.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// To know whether the buffer is still there, and slices if there is much room for them: it may still have to wait
    /// for a job that needs slices itself.
    Look,
    Slices,
    /// Everything, in `whole`.
    Whole,
    /// No more: it has ended.
    Release,
}

#[derive(Clone, Copy)]
enum Fault {
    /// The buffer was detached or became shorter.
    Lost,
    /// The environment has ended.
    Ended,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Lost => lost_data(),
            Fault::Ended => Error::aborted(),
        }
    }
}

/// The error of data that is not there any more.
pub fn lost_data() -> Error {
    let problem = "its buffer was transferred or became too short before it was copied; leave it alone until the \
                   promise settles, or pass a copy";
    Error::invalid_config("data", problem)
}

impl Feed {
    fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().ignore_poison()
    }

    /// Does the next part of what is wanted; returns how many bytes it copied.
    pub fn serve(self: &Arc<Self>, env: &Env) -> usize {
        let mut state = self.lock();
        state.is_queued = false;
        let copied = match state.wanted {
            Wanted::Release => 0,
            _ => self.copy(&mut state, env),
        };
        if state.wanted == Wanted::Release || state.copied == self.length || state.fault.is_some() {
            // What Node does not release now goes with the environment.
            let _released = state.source.take().map(|source| source.unref(env));
        }
        let (wants_more, is_there) = match state.wanted {
            Wanted::Release => (false, true),
            Wanted::Look => (state.ready.len() < MAX_AHEAD && self.owner.feeds.is_half_empty(), true),
            Wanted::Slices => (state.ready.len() < MAX_AHEAD, true),
            Wanted::Whole => (true, state.source.is_none()),
        };
        if wants_more && state.source.is_some() {
            self.enqueue(&mut state);
        }
        let resumption = if is_there { state.parked.take() } else { None };
        drop(state);
        if let Some(resume) = resumption {
            resume();
        }
        copied
    }

    fn copy(&self, state: &mut FeedState, env: &Env) -> usize {
        let object = state.source.as_ref().map(|source| source.get_value(env));
        let bytes = object.map(|object| Uint8ArraySlice::from_unknown(object?.to_unknown()));
        // A detached buffer has no bytes, and a view of a buffer that became too short for it has none either.
        let Some(bytes) = bytes.and_then(napi::Result::ok).filter(|bytes| bytes.len() >= self.length) else {
            state.fault = Some(Fault::Lost);
            return 0;
        };
        let next = &bytes[state.copied..self.length.min(state.copied + SLICE_BYTES)];
        match state.wanted {
            Wanted::Release => return 0,
            Wanted::Look if !self.owner.feeds.is_half_empty() => return 0,
            Wanted::Whole => state.whole[state.copied..][..next.len()].copy_from_slice(next),
            Wanted::Look | Wanted::Slices => state.ready.push_back(CopiedSlice::fed(&self.owner, next)),
        }
        state.copied += next.len();
        next.len()
    }

    fn enqueue(self: &Arc<Self>, state: &mut FeedState) {
        state.is_queued = true;
        self.owner.feeds.push(self.clone());
    }

    /// Asks the JavaScript thread for what is wanted, if there is more to come.
    fn ask(self: &Arc<Self>, state: &mut FeedState) {
        if !state.is_queued && state.source.is_some() {
            self.enqueue(state);
            self.owner.wake();
        }
    }

    /// Ends the job, for its environment has ended.
    pub fn end(&self) {
        let mut state = self.lock();
        state.fault = Some(Fault::Ended);
        let resumption = state.parked.take();
        drop(state);
        if let Some(resume) = resumption {
            resume();
        }
    }
}

/// What a job finds when it asks for more data.
pub enum Next {
    /// The bytes that follow.
    CopiedSlice(CopiedSlice),
    /// They are not copied yet.
    Pending,
    /// There are no more.
    End,
}

/// A job's end of the data of one buffer.
pub struct Fed(Arc<Feed>);

impl Fed {
    /// Keeps a `Uint8Array` of `length` bytes, to be copied when a job asks for it.
    pub fn of(env: &Env, bytes: Unknown<'_>, length: usize) -> napi::Result<Self> {
        let state = FeedState {
            source: Some(Object::from_unknown(bytes)?.create_ref()?),
            wanted: Wanted::Look,
            copied: 0,
            ready: VecDeque::new(),
            whole: Vec::new(),
            fault: None,
            parked: None,
            is_queued: false,
        };
        Ok(Fed(Arc::new(Feed { owner: current(env)?, length, state: Mutex::new(state) })))
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.0.length
    }

    /// Takes the next slice, and has the one after it copied. Fails if the buffer was detached or made shorter.
    pub fn next(&self) -> Result<Next> {
        let mut state = self.0.lock();
        let slice = state.ready.pop_front();
        state.wanted = Wanted::Slices;
        match (slice, state.fault) {
            (_, Some(fault)) => Err(fault.into()),
            (Some(slice), None) => {
                self.0.ask(&mut state);
                Ok(Next::CopiedSlice(slice))
            }
            (None, None) if state.copied == self.0.length => Ok(Next::End),
            (None, None) => Ok(Next::Pending),
        }
    }

    /// Fails if the buffer was found to be detached or made shorter.
    pub fn check(&self) -> Result<()> {
        self.0.lock().fault.map_or(Ok(()), |fault| Err(fault.into()))
    }

    /// Calls `resume` once the JavaScript thread has looked whether the buffer is still there: see [`Fed::check`].
    pub fn look(self, resume: impl FnOnce(Self) + Send + 'static) {
        self.park(resume);
    }

    /// Calls `resume` once [`Fed::next`] gives something.
    pub fn when_ready(self, resume: impl FnOnce(Self) + Send + 'static) {
        let is_ready = !self.0.lock().ready.is_empty();
        match is_ready {
            true => resume(self),
            false => self.park(resume),
        }
    }

    /// Makes room in memory for everything, before the first [`Fed::next`].
    pub fn reserve_whole(&self) -> Result<()> {
        let whole = reserve_memory(self.0.length);
        let mut whole = whole.map_err(|_| Error::file_system("write", "", Errno::ENOMEM.into()))?;
        // Takes the page faults off the JavaScript thread.
        whole.resize(self.0.length, 0);
        let mut state = self.0.lock();
        let mut at = 0;
        for slice in state.ready.drain(..) {
            whole[at..][..slice.len()].copy_from_slice(&slice);
            at += slice.len();
        }
        state.whole = whole;
        state.wanted = Wanted::Whole;
        Ok(())
    }

    /// Calls `resume` once everything is copied to the memory that was reserved, or cannot be: see [`Fed::whole`].
    pub fn collect(self, resume: impl FnOnce(Self) + Send + 'static) {
        self.park(resume);
    }

    /// What was collected.
    pub fn whole(&self) -> Result<Vec<u8>> {
        self.check()?;
        Ok(mem::take(&mut self.0.lock().whole))
    }

    fn park(self, resume: impl FnOnce(Self) + Send + 'static) {
        let feed = self.0.clone();
        let mut state = feed.lock();
        if state.source.is_none() {
            drop(state);
            return resume(self);
        }
        state.parked = Some(Box::new(move || resume(self)));
        feed.ask(&mut state);
        drop(state);
        // An environment that has ended serves none.
        if feed.owner.is_over() {
            feed.end();
        }
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.wanted = Wanted::Release;
        state.parked = None;
        let ready = mem::take(&mut state.ready);
        self.0.ask(&mut state);
        drop(state);
        drop(ready);
    }
}
