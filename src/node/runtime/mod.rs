//! How calls from JavaScript run: arguments, thread pools, results and errors.

pub mod arguments;
pub mod cancellation;
pub mod convert;
pub mod data;
pub mod dispatch;
pub mod env;
pub mod executor;
pub mod feed;
pub mod feed_queue;
pub mod job;
pub mod js_error;
pub mod pages;
