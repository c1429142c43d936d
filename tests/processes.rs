//! Several processes on one home.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "processes/blocked.rs"]
mod blocked;
#[path = "support/child.rs"]
mod child;
#[path = "processes/naive.rs"]
mod naive;
#[path = "processes/race.rs"]
mod race;
#[path = "processes/record_locks.rs"]
mod record_locks;
#[path = "support/report.rs"]
mod report;
#[path = "processes/rounds.rs"]
mod rounds;
#[path = "support/skip.rs"]
mod skip;
mod support;
#[path = "processes/umask.rs"]
mod umask;
#[path = "support/worker.rs"]
mod worker;
