//! Copying files and trees: within a volume, into it, out of it, and adding to files.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "support/child.rs"]
mod child;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/snapshot.rs"]
mod snapshot;
#[path = "support/volume.rs"]
mod volume;

#[path = "copying/content.rs"]
mod content;
