//! The Node.js addon: the only room that knows napi.
//!
//! An exported function parses its arguments, names one call of the core and how to convert its result;
//! [`dispatch`] runs it and settles the promise.

mod attachment;
mod attachments;
mod check;
mod copying;
mod entries;
mod files;
mod mount;
mod packed;
mod pauses;
mod runtime;
mod store;
mod streams;
