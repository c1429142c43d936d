//! One generic job: work on a pool, its result converted on the JavaScript thread, its promise settled.
//!
//! Finished jobs queue up and one threadsafe function settles all that are ready in a single turn of the event
//! loop. It holds the loop open only while jobs are pending. Data comes to a job as a copy: see [`super::feed`].

#![expect(unsafe_code, reason = "promises and the threadsafe function are used through Node-API itself")]

use super::cancellation::release_cancelled;
use super::env::{EnvLifetime, EnvTeardown};
use super::executor::{self, Pool};
use super::feed_queue::FeedQueue;
use super::js_error::{ErrorFactory, to_js_error};
use crate::error::{Error, Result};
use crate::store::delete_elsewhere;
use crate::sync::IgnorePoison;
use napi::bindgen_prelude::{FromNapiValue, Uint8Array, Unknown};
use napi::{Env, JsValue, sys};
use std::any::Any;
use std::ffi::c_void;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// What one JavaScript environment (the main thread, a worker) needs to have its jobs done.
pub struct Dispatcher {
    finished: Mutex<Finished>,
    /// Jobs whose promise is not settled. Changed on the JavaScript thread only.
    pending: AtomicUsize,
    life: EnvLifetime,
    /// Data of JavaScript that jobs wait for.
    pub feeds: FeedQueue,
    /// Operations that are undone if the environment ends before they are complete.
    pub endings: EnvTeardown,
    pub errors: ErrorFactory,
}

struct Finished {
    jobs: Vec<FinishedJob>,
    /// Whether a call of `drain` is queued already.
    is_woken: bool,
    /// None before the set-up and once the environment is gone.
    wake: Option<Wake>,
}

struct FinishedJob {
    deferred: Deferred,
    outcome: Result<Conversion>,
}

/// Makes the result a JavaScript value, on the JavaScript thread.
type Conversion = Box<dyn FnOnce(&Env) -> napi::Result<sys::napi_value> + Send>;

/// How a result becomes a JavaScript value.
pub type Convert<T> = for<'e> fn(&'e Env, T) -> napi::Result<Unknown<'e>>;

#[derive(Clone, Copy)]
struct Deferred(sys::napi_deferred);

// SAFETY: the pointer is only carried through other threads; it is dereferenced by Node on the JavaScript thread.
unsafe impl Send for Deferred {}

#[derive(Clone, Copy)]
struct Wake(sys::napi_threadsafe_function);

// SAFETY: a threadsafe function may be called from any thread; `Finished` drops it before Node frees it.
unsafe impl Send for Wake {}

/// What a step of an operation has come to: the result, or the insight that there is more to do.
pub enum Outcome<T> {
    /// The result.
    Ready(T),
    /// The next step, and its pool. It queues there behind the jobs that came before.
    Continue(Pool, Work<T>),
    /// The next step comes once what it needs is there. The function waits for that without a thread, and is called
    /// with what resumes the operation.
    Parked(Box<dyn FnOnce(Resume<T>) + Send>),
}

/// One step of an operation.
pub type Work<T> = Box<dyn FnOnce() -> Result<Outcome<T>> + Send>;

/// Queues the next step of a parked operation on a pool.
pub type Resume<T> = Box<dyn FnOnce(Pool, Work<T>) + Send>;

impl<T: 'static> Outcome<T> {
    /// A last step, on another pool.
    pub fn later(pool: Pool, rest: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Outcome::Continue(pool, Box::new(move || rest().map(Outcome::Ready)))
    }
}

/// Sets this environment up; `errors` makes JavaScript errors. Called once for each environment.
pub fn connect(env: &Env, errors: ErrorFactory) -> napi::Result<()> {
    // If no thread can be had, what was to be deleted is left to the next operation that meets it.
    delete_elsewhere(|work| drop(executor::submit(Pool::Walk, work)));
    let dispatcher = Arc::new(Dispatcher {
        finished: Mutex::new(Finished { jobs: Vec::new(), is_woken: false, wake: None }),
        pending: AtomicUsize::new(0),
        life: EnvLifetime::default(),
        feeds: FeedQueue::default(),
        endings: EnvTeardown::default(),
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
    ok(status)?;
    // SAFETY: `wake` was just made, on this thread.
    ok(unsafe { sys::napi_unref_threadsafe_function(env.raw(), wake) })?;
    dispatcher.lock().wake = Some(Wake(wake));
    env.add_env_cleanup_hook(dispatcher.clone(), |dispatcher| dispatcher.end())?;
    env.set_instance_data(dispatcher, (), |_| {})
}

/// This environment's dispatcher.
pub fn current(env: &Env) -> napi::Result<Arc<Dispatcher>> {
    env.get_instance_data::<Arc<Dispatcher>>()?
        .cloned()
        .ok_or_else(|| napi::Error::from_reason("sandbox-volumes was loaded without its index.js"))
}

/// Runs `work` on `pool` and gives the promise of its converted result.
pub fn run<'e, T: Send + 'static>(
    env: &'e Env,
    pool: Pool,
    work: impl FnOnce() -> Result<T> + Send + 'static,
    convert: Convert<T>,
) -> napi::Result<Unknown<'e>> {
    run_in_steps(env, pool, move || work().map(Outcome::Ready), convert)
}

/// The same for work that may find out on the way that it takes long.
pub fn run_in_steps<'e, T: Send + 'static>(
    env: &'e Env,
    pool: Pool,
    work: impl FnOnce() -> Result<Outcome<T>> + Send + 'static,
    convert: Convert<T>,
) -> napi::Result<Unknown<'e>> {
    let dispatcher = current(env)?;
    let (mut deferred, mut promise) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: `env` is valid on this thread and the two pointers are filled in by the call.
    ok(unsafe { sys::napi_create_promise(env.raw(), &mut deferred, &mut promise) })?;
    let deferred = Deferred(deferred);
    dispatcher.ref_loop(env)?;
    dispatcher.submit(pool, Box::new(work), deferred, convert);
    // SAFETY: `promise` is a value of this environment in the handle scope of the running call.
    Ok(unsafe { Unknown::from_raw_unchecked(env.raw(), promise) })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

impl Dispatcher {
    /// Queues a step, which queues the next one, until there is a result to settle the promise with.
    fn submit<T: Send + 'static>(
        self: &Arc<Self>,
        pool: Pool,
        work: Work<T>,
        deferred: Deferred,
        convert: Convert<T>,
    ) {
        let reporter = self.clone();
        let queued = executor::submit(
            pool,
            Box::new(move || match reporter.perform(work) {
                Ok(Outcome::Ready(result)) => reporter.finish(deferred, Ok(result), convert),
                Ok(Outcome::Continue(pool, rest)) => reporter.submit(pool, rest, deferred, convert),
                Ok(Outcome::Parked(park)) => {
                    park(Box::new(move |pool, rest| reporter.submit(pool, rest, deferred, convert)));
                }
                Err(error) => reporter.finish(deferred, Err(error), convert),
            }),
        );
        if let Err(error) = queued {
            self.finish(deferred, Err(error), convert);
        }
    }

    /// Runs work so that a panic, a defect of ours, is an error like any other. Work that was still queued when
    /// its environment ended is dropped.
    fn perform<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.is_over() {
            return Err(Error::aborted());
        }
        let done = catch_unwind(AssertUnwindSafe(work));
        done.unwrap_or_else(|panic| Err(Error::internal(panic_message(&*panic))))
    }

    /// Whether the environment has ended.
    pub fn is_over(&self) -> bool {
        self.life.is_over()
    }

    /// Ends what waits for the environment, which ends, and waits for what fills its memory.
    fn end(&self) {
        self.life.end();
        self.endings.cancel_all();
        release_cancelled();
        self.feeds.end();
        self.life.wait_for_borrowers();
    }

    fn lock(&self) -> MutexGuard<'_, Finished> {
        self.finished.lock().ignore_poison()
    }

    /// Counts a pending job; the first one holds the event loop open.
    fn ref_loop(&self, env: &Env) -> napi::Result<()> {
        if self.pending.fetch_add(1, Ordering::Relaxed) == 0
            && let Some(Wake(wake)) = self.lock().wake
        {
            // SAFETY: called on the JavaScript thread with a threadsafe function that is not freed yet.
            ok(unsafe { sys::napi_ref_threadsafe_function(env.raw(), wake) })?;
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

    /// Queues a finished job and wakes the event loop. Once the environment is gone the result is dropped: one that owns
    /// something undoes it then.
    fn finish<T: Send + 'static>(&self, deferred: Deferred, result: Result<T>, convert: Convert<T>) {
        let outcome = result.map(|result| -> Conversion {
            Box::new(move |env| convert(env, result).map(|value| value.raw()))
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

    /// Has the event loop call `drain`.
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

/// Wakes the event loop if it is not woken already. Returns the jobs that cannot be delivered any more, which the caller
/// drops without the lock.
fn wake(finished: &mut Finished) -> Vec<FinishedJob> {
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

/// Settles the promises of all finished jobs, and copies what others wait for.
unsafe extern "C" fn drain(
    env: sys::napi_env,
    _function: sys::napi_value,
    context: *mut c_void,
    _data: *mut c_void,
) {
    if env.is_null() {
        return;
    }
    // SAFETY: `context` is the dispatcher that `connect` handed over, alive until `release`.
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
        // SAFETY: `env` is valid during this call and the scopes are closed in the order they were opened.
        unsafe { sys::napi_open_handle_scope(env.raw(), &mut scope) };
        // A panic must not unwind into Node; its promise stays unsettled, the others are served.
        let _panicked = catch_unwind(AssertUnwindSafe(|| dispatcher.settle(&env, job)));
        // SAFETY: as above.
        unsafe { sys::napi_close_handle_scope(env.raw(), scope) };
    }
    if settled > 0 {
        dispatcher.unref_loop(&env, settled);
    }
    dispatcher.feeds.serve(&env);
}

/// Node frees the threadsafe function after this: nobody may call it any more.
unsafe extern "C" fn release(_env: sys::napi_env, context: *mut c_void, _hint: *mut c_void) {
    // SAFETY: takes back the reference count that `connect` handed over, once.
    let dispatcher = unsafe { Arc::from_raw(context.cast::<Dispatcher>()) };
    let mut finished = dispatcher.lock();
    finished.wake = None;
    let undelivered = mem::take(&mut finished.jobs);
    drop(finished);
    drop(undelivered);
}

/// Memory of the environment that a job fills, and that no JavaScript can reach until the job is done.
pub struct BorrowedMemory {
    bytes: Uint8Array,
    owner: Arc<Dispatcher>,
}

impl BorrowedMemory {
    /// Takes the memory of a `Uint8Array` that the caller shows to no other code.
    pub fn of(env: &Env, value: Unknown<'_>) -> napi::Result<Self> {
        Ok(BorrowedMemory { bytes: Uint8Array::from_unknown(value)?, owner: current(env)? })
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Hands the memory to `fill`, unless the environment that owns it has ended.
    pub fn fill<T>(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<T>) -> Result<T> {
        let _borrowed = self.owner.life.borrow()?;
        // SAFETY: the environment frees nothing while it is borrowed from, `bytes` holds the memory, and only
        // lib/streams.js has it, which made it for this call: nothing detaches, resizes or reads it.
        fill(unsafe { self.bytes.as_mut() })
    }
}

fn ok(status: sys::napi_status) -> napi::Result<()> {
    match status {
        sys::Status::napi_ok => Ok(()),
        status => Err(napi::Error::new(napi::Status::from(status), "Node-API refused a call".to_owned())),
    }
}
