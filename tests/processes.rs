//! Several processes on one home.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "processes/blocked.rs"]
mod blocked;
#[path = "processes/race.rs"]
mod race;
#[path = "support/report.rs"]
mod report;
mod support;
#[path = "processes/umask.rs"]
mod umask;
#[path = "support/worker.rs"]
mod worker;
