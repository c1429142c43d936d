//! Calls from JavaScript that return a promise: arguments in, a job, a result out.

use super::cancellation::{Cancellation, cancel_token};
use super::executor::Pool;
use crate::error::{Error, Result};
use crate::sync::CancelToken;
use napi::Env;
use napi::bindgen_prelude::{ToNapiValue, Unknown};

/// Why a call failed before its job ran.
pub enum CallError {
    /// An argument is invalid.
    Invalid(Error),
    /// Node-API could not read an argument, mostly because a getter of the caller threw.
    NodeApi(napi::Error),
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        CallError::Invalid(error)
    }
}

impl From<napi::Error> for CallError {
    fn from(error: napi::Error) -> Self {
        CallError::NodeApi(error)
    }
}

/// The result of reading the arguments of a call.
pub type CallResult<T> = std::result::Result<T, CallError>;

/// The work of one call, and the pool that runs it.
pub struct Job<T> {
    pub(super) pool: Pool,
    pub(super) work: Work<T>,
    /// Once it is cancelled, a queued step runs before all others.
    pub(super) cancel: Option<CancelToken>,
}

impl<T: 'static> Job<T> {
    /// Creates a job of one step.
    pub fn on(pool: Pool, work: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Job::in_steps(pool, move || work().map(Outcome::Ready))
    }

    /// Creates a job that may continue in further steps.
    pub fn in_steps(pool: Pool, work: impl FnOnce() -> Result<Outcome<T>> + Send + 'static) -> Self {
        Job { pool, work: Box::new(work), cancel: None }
    }

    /// Ends the job if `cancel` is cancelled before the job starts, also while it is queued.
    pub fn cancelled_by(self, cancel: &CancelToken) -> Self {
        let Job { pool, work, .. } = self;
        let check = cancel.clone();
        let work = Box::new(move || check.check().and_then(|()| work()));
        Job { pool, work, cancel: None }.hurried_by(cancel)
    }

    /// Runs the job before all others of its pool if `cancel` is cancelled. Use it for a job that releases or undoes
    /// something, which runs in any case.
    pub fn hurried_by(self, cancel: &CancelToken) -> Self {
        Job { cancel: Some(cancel.clone()), ..self }
    }
}

/// The promise of a job's result: what an exported function returns. The dispatcher creates and settles it.
pub struct JobPromise<T>(pub(super) CallResult<Job<T>>);

/// Runs the job that `parse` creates from the arguments of a call. The promise rejects if `parse` fails.
pub fn run<T>(parse: impl FnOnce() -> CallResult<Job<T>>) -> JobPromise<T> {
    JobPromise(parse())
}

/// Runs a job like [`run`], with the token of the call. If that is cancelled, the job does not wait for the queue of
/// its pool.
pub fn run_cancellable<T: 'static>(
    cancellation: Option<&Cancellation>,
    parse: impl FnOnce(CancelToken) -> CallResult<Job<T>>,
) -> JobPromise<T> {
    let cancel = cancel_token(cancellation);
    run(|| Ok(parse(cancel.clone())?.cancelled_by(&cancel)))
}

/// The outcome of one step of a job.
pub enum Outcome<T> {
    /// The job is complete.
    Ready(T),
    /// The next step, and its pool. It queues there behind earlier jobs.
    Continue(Pool, Work<T>),
    /// The next step cannot run yet. The function registers a wait that takes no thread, and resumes the
    /// job later by the given closure.
    Parked(Box<dyn FnOnce(Resume<T>) + Send>),
}

/// One step of a job.
pub type Work<T> = Box<dyn FnOnce() -> Result<Outcome<T>> + Send>;

/// Queues the next step of a parked job on a pool.
pub type Resume<T> = Box<dyn FnOnce(Pool, Work<T>) + Send>;

impl<T: 'static> Outcome<T> {
    /// Continues with a last step on another pool.
    pub fn last_step_on(pool: Pool, rest: impl FnOnce() -> Result<T> + Send + 'static) -> Self {
        Outcome::Continue(pool, Box::new(move || rest().map(Outcome::Ready)))
    }
}

/// The result of a job, which the JavaScript thread converts.
pub trait IntoJs: Send + 'static {
    /// Converts the result to a JavaScript value.
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>>;
}

impl<T: ToNapiValue + Send + 'static> IntoJs for T {
    fn into_js(self, env: &Env) -> napi::Result<Unknown<'_>> {
        self.into_unknown(env)
    }
}
