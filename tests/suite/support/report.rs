//! Prints what a reader of the test run should see: numbers that a test counted, and what it skipped.

use std::io::Write;

/// Prints a line with the test's name. Unlike `println!`, it shows where the test passes as well.
pub fn report(text: impl std::fmt::Display) {
    let test = std::thread::current();
    let line = format!("{}: {text}\n", test.name().unwrap_or("test"));
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
