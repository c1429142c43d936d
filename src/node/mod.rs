//! The Node.js addon: the only room that uses napi.
//!
//! An exported function parses its arguments, passes one call of the core to `runtime::dispatch`, and names
//! the conversion of the result. The dispatcher runs the call and settles the promise.

mod attachment;
mod attachments;
mod check;
mod copying;
mod entries;
mod files;
mod lease_retry;
mod mount;
mod packed;
mod runtime;
mod store;
mod streams;
