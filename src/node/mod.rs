//! The Node.js addon: the only room that uses napi.
//!
//! An exported function parses its arguments, and returns the job that calls the core: see `runtime::job::run`.
//! The dispatcher makes the promise, runs the job, and converts its result.

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
