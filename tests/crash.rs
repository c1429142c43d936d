//! A process that dies in the middle of its work, and what the next one finds.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "crash/kill.rs"]
mod kill;
#[path = "crash/points.rs"]
mod points;
#[path = "support/report.rs"]
mod report;
mod support;
#[path = "support/worker.rs"]
mod worker;
