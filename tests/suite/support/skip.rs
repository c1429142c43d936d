//! Skips a test that cannot run here.

use super::report::report;
use std::fmt::Display;

/// Reports why a test is skipped. With `CI` set, fails the test instead.
pub fn skip(reason: impl Display) {
    assert!(std::env::var_os("CI").is_none(), "skipped in CI: {reason}");
    report(format_args!("skipped: {reason}"));
}
