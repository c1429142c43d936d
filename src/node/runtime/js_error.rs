//! The one mapping from [`Error`] to JavaScript errors.

use super::dispatch;
use super::job::{CallError, CallResult};
use crate::error::Error;
use crate::wire::owner_name;
use napi::Env;
use napi::bindgen_prelude::{FnArgs, Function, FunctionRef, Object, Unknown};
use napi_derive::napi;

/// `(kind, code, message, details) => Error`. lib/native.js provides it, because lib/errors.js defines the
/// classes.
pub type ErrorFactory = FunctionRef<FnArgs<(String, String, String, Object<'static>)>, Unknown<'static>>;

/// Sets up this environment. `make_error` creates an error from its kind, code, message and details.
#[napi(
    catch_unwind,
    ts_args_type = "makeError: (kind: string, code: string, message: string, details: object) => Error"
)]
pub fn connect(
    env: &Env,
    make_error: Function<'_, FnArgs<(String, String, String, Object<'static>)>, Unknown<'static>>,
) -> napi::Result<()> {
    dispatch::connect(env, make_error.create_ref()?)
}

/// Creates the JavaScript error for `error`.
pub fn to_js_error<'e>(env: &'e Env, factory: &ErrorFactory, error: &Error) -> napi::Result<Unknown<'e>> {
    let context = error.context();
    let mut details = Object::new(env)?;
    if let Some(volume) = &context.volume {
        details.set("volume", volume)?;
    }
    if let Some(path) = &context.path {
        details.set("path", path)?;
    }
    if let Some(dest) = &context.dest {
        details.set("dest", dest)?;
    }
    if let Some(field) = &context.field {
        details.set("field", field)?;
    }
    if let (Some(syscall), Some(errno)) = (context.syscall, context.errno) {
        details.set("syscall", syscall)?;
        details.set("errno", -errno)?;
    } else if let Some(cause) = std::error::Error::source(error) {
        details.set("cause", cause.to_string())?;
    }
    if let Some(operation) = context.operation {
        details.set("operation", operation)?;
    }
    if !context.sandboxes.is_empty() {
        details.set("sandboxes", context.sandboxes.clone())?;
    }
    if !context.holders.is_empty() {
        let holders = context.holders.iter().map(|holder| {
            let mut object = Object::new(env)?;
            object.set("id", holder.id.to_string())?;
            object.set("sandbox", &holder.sandbox)?;
            object.set("pid", holder.pid)?;
            object.set("owner", owner_name(holder.running))?;
            object.set("readonly", holder.readonly)?;
            Ok(object)
        });
        details.set("holders", holders.collect::<napi::Result<Vec<_>>>()?)?;
    }
    if !context.differences.is_empty() {
        let differences = context.differences.iter().map(|difference| {
            let mut object = Object::new(env)?;
            object.set("field", difference.field)?;
            object.set("wanted", &difference.wanted)?;
            object.set("actual", &difference.actual)?;
            Ok(object)
        });
        details.set("differences", differences.collect::<napi::Result<Vec<_>>>()?)?;
    }
    let kind = error.kind().code().to_owned();
    factory.borrow_back(env)?.call((kind, error.code(), error.to_string(), details).into())
}

/// Runs a synchronous call, and throws its error.
pub fn or_throw<T>(env: &Env, call: impl FnOnce() -> CallResult<T>) -> napi::Result<T> {
    call().map_err(|error| match error {
        CallError::NodeApi(error) => error,
        CallError::Invalid(error) => thrown(env, &error).unwrap_or_else(|failed| failed),
    })
}

/// Returns the error that makes Node-API throw `error`.
fn thrown(env: &Env, error: &Error) -> napi::Result<napi::Error> {
    let dispatcher = dispatch::current(env)?;
    to_js_error(env, &dispatcher.errors, error).map(napi::Error::from)
}
