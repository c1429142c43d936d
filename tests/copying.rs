//! Copying files and trees: within a volume, into it, out of it, and adding to files.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "support/child.rs"]
mod child;
#[path = "support/report.rs"]
mod report;
#[path = "support/snapshot.rs"]
mod snapshot;
#[path = "support/volume.rs"]
#[expect(dead_code, reason = "the store and the name serve other tests")]
mod volume;

#[path = "copying/append.rs"]
mod append;
#[path = "copying/content.rs"]
mod content;
#[path = "copying/hostile.rs"]
mod hostile;
#[path = "copying/large.rs"]
mod large;
#[path = "copying/limits.rs"]
mod limits;
#[path = "copying/links.rs"]
mod links;
