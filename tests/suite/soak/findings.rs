//! Collects what a check finds, also if it panics.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a check found wrong. A panic of the check is a finding too.
pub fn findings_of<W: IntoIterator<Item = String>>(look: impl FnOnce() -> W) -> Vec<String> {
    match catch_unwind(AssertUnwindSafe(look)) {
        Ok(wrong) => wrong.into_iter().collect(),
        Err(panic) => vec![format!("a look panicked: {}", said(&*panic))],
    }
}

/// The message of a panic.
pub fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it does not say why")
}
