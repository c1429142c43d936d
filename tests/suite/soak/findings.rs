//! A look at the store that survives what it finds.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a look found wrong. One that panics has found what it did not think of.
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
