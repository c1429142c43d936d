//! Dispatcher: runs jobs on pools, converts their results on the JavaScript thread, settles their promises.
//!
//! Finished jobs queue up. One threadsafe function settles all that are ready in one turn of the event loop.
//! It keeps the event loop alive only while jobs are pending. A job gets data as a copy: see [`super::feed`].

#![expect(unsafe_code, reason = "promises and the threadsafe function are used through Node-API itself")]

use super::cancellation::release_cancelled;
use super::env::{EnvLifetime, EnvTeardown};
use super::executor::{self, Pool};
use super::feed_queue::FeedQueue;
use super::job::{CallError, IntoJs, Job, JobPromise, Outcome, Work};
use super::js_error::{ErrorFactory, to_js_error};
use crate::error::{Error, Result};
use crate::store::delete_in_background;
use crate::sync::{CancelToken, IgnorePoison};
use napi::bindgen_prelude::{FromNapiValue, ToNapiValue, Uint8Array, Unknown};
use napi::{Env, JsValue, sys};
use std::any::Any;
use std::ffi::c_void;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The state of one JavaScript environment (the main thread, a worker) for its jobs.
pub struct Dispatcher {
    finished: Mutex<FinishedJobs>,
    /// Count of jobs whose promise is not settled. Changed on the JavaScript thread only.
    pending: AtomicUsize,
    lifetime: EnvLifetime,
    /// Data of JavaScript that jobs wait for.
    pub feeds: FeedQueue,
    /// Operations to cancel if the environment ends before their commit point.
    pub teardown: EnvTeardown,
    pub errors: ErrorFactory,
}

struct FinishedJobs {
    jobs: Vec<FinishedJob>,
    /// Whether a call of `drain` is queued already.
    is_woken: bool,
    /// `None` before `connect`, and after the environment has ended.
    wake: Option<Wake>,
}

struct FinishedJob {
    deferred: Deferred,
    outcome: Result<Conversion>,
}

/// Converts the result to a JavaScript value, on the JavaScript thread.
type Conversion = Box<dyn FnOnce(&Env) -> napi::Result<sys::napi_value> + Send>;

#[derive(Clone, Copy)]
struct Deferred(sys::napi_deferred);

// SAFETY: the pointer is only carried through other threads; it is dereferenced by Node on the JavaScript thread.
unsafe impl Send for Deferred {}

#[derive(Clone, Copy)]
struct Wake(sys::napi_threadsafe_function);

// SAFETY: a threadsafe function may be called from any thread; `FinishedJobs` drops it before Node frees it.
unsafe impl Send for Wake {}

/// Sets up the dispatcher of this environment. `errors` creates JavaScript errors. Called once per
/// environment.
pub fn connect(env: &Env, errors: ErrorFactory) -> napi::Result<()> {
    // If no thread can be started, the next operation that finds the content deletes it.
    delete_in_background(|work| drop(executor::submit(Pool::Delete, work)));
    let dispatcher = Arc::new(Dispatcher {
        finished: Mutex::new(FinishedJobs { jobs: Vec::new(), is_woken: false, wake: None }),
        pending: AtomicUsize::new(0),
        lifetime: EnvLifetime::default(),
        feeds: FeedQueue::default(),
        teardown: EnvTeardown::default(),
        errors,
    });
    let context = Arc::into_raw(dispatcher.clone()).cast_mut().cast::<c_void>();
    let mut wake = ptr::null_mut();
    let name = env.create_string("sandbox-volumes")?;
    // SAFETY: `env` is valid on this thread; `context` is one reference count of the dispatcher, which
    // `release` gives back when Node frees the threadsafe function, after its last call of `drain`.
    let status = unsafe {
        sys::napi_create_threadsafe_function(
            env.raw(),
            ptr::null_mut(),
            ptr::null_mut(),
            name.raw(),
            0,
            1,
            context,
            Some(release),
            context,
            Some(drain),
            &mut wake,
        )
    };
    check_status(status)?;
    // SAFETY: `wake` was just created, on this thread.
    check_status(unsafe { sys::napi_unref_threadsafe_function(env.raw(), wake) })?;
    dispatcher.lock().wake = Some(Wake(wake));
    env.add_env_cleanup_hook(dispatcher.clone(), |dispatcher| dispatcher.end())?;
    env.set_instance_data(dispatcher, (), |_| {})
}

/// Returns the dispatcher of this environment.
pub fn current(env: &Env) -> napi::Result<Arc<Dispatcher>> {
    env.get_instance_data::<Arc<Dispatcher>>()?
        .cloned()
        .ok_or_else(|| napi::Error::from_reason("sandbox-volumes was loaded without its index.js"))
}

/// Creates the promise of a job, and queues the job. Rejects the promise at once if the call has no job. An
/// exception of JavaScript is thrown unchanged.
impl<T: IntoJs> ToNapiValue for JobPromise<T> {
    unsafe fn to_napi_value(env: sys::napi_env, JobPromise(job): Self) -> napi::Result<sys::napi_value> {
        let env = Env::from_raw(env);
        let job = match job {
            Ok(job) => Ok(job),
            Err(CallError::Invalid(error)) => Err(error),
            Err(CallError::NodeApi(error)) => return Err(error),
        };
        let dispatcher = current(&env)?;
        let (mut deferred, mut promise) = (ptr::null_mut(), ptr::null_mut());
        // SAFETY: `env` is valid on this thread and the two pointers are filled in by the call.
        check_status(unsafe { sys::napi_create_promise(env.raw(), &mut deferred, &mut promise) })?;
        let deferred = Deferred(deferred);
        match job {
            Ok(Job { pool, work, cancel }) => {
                dispatcher.ref_loop(&env)?;
                dispatcher.submit(pool, work, cancel, deferred);
            }
            Err(error) => dispatcher.settle(&env, FinishedJob { deferred, outcome: Err(error) }),
        }
        Ok(promise)
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

impl Dispatcher {
    /// Queues a step. Each step queues the next one, until a result settles the promise.
    fn submit<T: IntoJs>(
        self: &Arc<Self>,
        pool: Pool,
        work: Work<T>,
        cancel: Option<CancelToken>,
        deferred: Deferred,
    ) {
        let reporter = self.clone();
        let queued = executor::submit_cancellable(
            pool,
            cancel.clone(),
            Box::new(move || match reporter.perform(work) {
                Ok(Outcome::Ready(result)) => reporter.finish(deferred, Ok(result)),
                Ok(Outcome::Continue(pool, rest)) => reporter.submit(pool, rest, cancel, deferred),
                Ok(Outcome::Parked(park)) => {
                    park(Box::new(move |pool, rest| reporter.submit(pool, rest, cancel, deferred)));
                }
                Err(error) => reporter.finish::<T>(deferred, Err(error)),
            }),
        );
        if let Err(error) = queued {
            self.finish::<T>(deferred, Err(error));
        }
    }

    /// Runs work, and reports a panic (a defect of this package) as an error. Drops work that was queued when
    /// the environment ended.
    fn perform<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_over() {
            return Err(Error::aborted());
        }
        let done = catch_unwind(AssertUnwindSafe(work));
        done.unwrap_or_else(|panic| Err(Error::internal(panic_message(&*panic))))
    }

    /// Whether the environment has ended.
    pub fn is_over(&self) -> bool {
        self.lifetime.is_over()
    }

    /// Handles the end of the environment: ends what waits for it, and waits for jobs that fill its memory.
    fn end(&self) {
        self.lifetime.end();
        self.teardown.cancel_all();
        release_cancelled();
        self.feeds.end();
        self.lifetime.wait_for_borrowers();
    }

    fn lock(&self) -> MutexGuard<'_, FinishedJobs> {
        self.finished.lock().ignore_poison()
    }

    /// Counts a pending job. The first one keeps the event loop alive.
    fn ref_loop(&self, env: &Env) -> napi::Result<()> {
        if self.pending.fetch_add(1, Ordering::Relaxed) == 0
            && let Some(Wake(wake)) = self.lock().wake
        {
            // SAFETY: called on the JavaScript thread with a threadsafe function that is not freed yet.
            check_status(unsafe { sys::napi_ref_threadsafe_function(env.raw(), wake) })?;
        }
        Ok(())
    }

    fn unref_loop(&self, env: &Env, settled: usize) {
        if self.pending.fetch_sub(settled, Ordering::Relaxed) == settled
            && let Some(Wake(wake)) = self.lock().wake
        {
            // SAFETY: as in `ref_loop`. A failure would only keep the process alive.
            unsafe { sys::napi_unref_threadsafe_function(env.raw(), wake) };
        }
    }

    /// Queues a finished job and wakes the event loop. If the environment has ended, drops the result, which
    /// undoes what it owns.
    fn finish<T: IntoJs>(&self, deferred: Deferred, result: Result<T>) {
        let outcome = result.map(|result| -> Conversion {
            Box::new(move |env| result.into_js(env).map(|value| value.raw()))
        });
        let mut finished = self.lock();
        if finished.wake.is_none() {
            return;
        }
        finished.jobs.push(FinishedJob { deferred, outcome });
        let undelivered = wake(&mut finished);
        drop(finished);
        drop(undelivered);
    }

    /// Makes the event loop call `drain`.
    pub fn wake(&self) {
        let undelivered = wake(&mut self.lock());
        drop(undelivered);
    }

    fn settle(&self, env: &Env, job: FinishedJob) {
        let value = match job.outcome {
            Ok(convert) => convert(env).map(Ok),
            Err(error) => to_js_error(env, &self.errors, &error).map(|value| Err(value.raw())),
        };
        let settled = value.unwrap_or_else(|error| {
            let error = env.create_error(error);
            Err(error.map_or(ptr::null_mut(), |object| object.raw()))
        });
        // SAFETY: on the JavaScript thread, with a deferred that is settled here and nowhere else, and a value
        // of this environment.
        unsafe {
            match settled {
                Ok(value) => sys::napi_resolve_deferred(env.raw(), job.deferred.0, value),
                Err(value) => sys::napi_reject_deferred(env.raw(), job.deferred.0, value),
            };
        }
    }
}

/// Wakes the event loop unless a wake is pending. Returns the jobs that cannot be delivered any more. The
/// caller drops them after it releases the lock.
fn wake(finished: &mut FinishedJobs) -> Vec<FinishedJob> {
    let Some(Wake(wake)) = finished.wake.filter(|_| !finished.is_woken) else { return Vec::new() };
    let mode = sys::ThreadsafeFunctionCallMode::nonblocking;
    // SAFETY: `wake` is set, so Node has not freed it: `release` takes this lock first.
    if unsafe { sys::napi_call_threadsafe_function(wake, ptr::null_mut(), mode) } == sys::Status::napi_closing
    {
        finished.wake = None;
        return mem::take(&mut finished.jobs);
    }
    finished.is_woken = true;
    Vec::new()
}

/// Settles the promises of all finished jobs, and copies data that jobs wait for.
unsafe extern "C" fn drain(
    env: sys::napi_env,
    _function: sys::napi_value,
    context: *mut c_void,
    _data: *mut c_void,
) {
    if env.is_null() {
        return;
    }
    // SAFETY: `context` is the dispatcher that `connect` passed, alive until `release`.
    let dispatcher = unsafe { &*context.cast::<Dispatcher>() };
    let env = Env::from_raw(env);
    let jobs = {
        let mut finished = dispatcher.lock();
        finished.is_woken = false;
        mem::take(&mut finished.jobs)
    };
    let settled = jobs.len();
    for job in jobs {
        let mut scope = ptr::null_mut();
        // SAFETY: `env` is valid during this call, and the scopes close in reverse order of opening.
        unsafe { sys::napi_open_handle_scope(env.raw(), &mut scope) };
        // A panic must not unwind into Node.js. The promise of that job stays unsettled; the other jobs go
        // on.
        let _panicked = catch_unwind(AssertUnwindSafe(|| dispatcher.settle(&env, job)));
        // SAFETY: as above.
        unsafe { sys::napi_close_handle_scope(env.raw(), scope) };
    }
    if settled > 0 {
        dispatcher.unref_loop(&env, settled);
    }
    dispatcher.feeds.serve(&env);
}

/// Called when Node.js frees the threadsafe function. No thread may call it from now on.
unsafe extern "C" fn release(_env: sys::napi_env, context: *mut c_void, _hint: *mut c_void) {
    // SAFETY: takes back the reference count that `connect` passed, once.
    let dispatcher = unsafe { Arc::from_raw(context.cast::<Dispatcher>()) };
    let mut finished = dispatcher.lock();
    finished.wake = None;
    let undelivered = mem::take(&mut finished.jobs);
    drop(finished);
    drop(undelivered);
}

/// Memory of the environment that a job fills. No JavaScript can reach it until the job is done.
pub struct BorrowedMemory {
    bytes: Uint8Array,
    owner: Arc<Dispatcher>,
}

impl BorrowedMemory {
    /// Borrows the memory of a `Uint8Array`. The caller must not show the array to other code.
    pub fn from_js(env: &Env, value: Unknown<'_>) -> napi::Result<Self> {
        Ok(BorrowedMemory { bytes: Uint8Array::from_unknown(value)?, owner: current(env)? })
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Passes the memory to `fill`. Fails with `Aborted` if the environment that owns it has ended.
    pub fn fill<T>(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<T>) -> Result<T> {
        let _borrowed = self.owner.lifetime.borrow()?;
        // SAFETY: the environment frees nothing while it is borrowed from, and `bytes` keeps the memory. Only
        // lib/streams.js has the array, which it created for this call: no code detaches, resizes or reads
        // it.
        fill(unsafe { self.bytes.as_mut() })
    }
}

fn check_status(status: sys::napi_status) -> napi::Result<()> {
    match status {
        sys::Status::napi_ok => Ok(()),
        status => Err(napi::Error::new(napi::Status::from(status), "Node-API refused a call".to_owned())),
    }
}
