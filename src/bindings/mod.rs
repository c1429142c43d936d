//! The Node.js addon: the only room that knows napi.
//!
//! An exported function parses its arguments, names one call of the core and how to convert its result;
//! [`dispatch`] runs it and settles the promise.

mod arguments;
mod attachment;
mod attachments;
mod cancellation;
mod check;
mod copying;
mod data;
mod dispatch;
mod entries;
mod errors;
mod feed;
mod feed_queue;
mod files;
mod lanes;
mod life;
mod mount;
mod packed;
mod pages;
mod pauses;
mod store;
mod streams;
mod values;
