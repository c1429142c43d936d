//! The life of a volume: creation, lookup, removal, and recovery after a crash.

pub mod create;
pub mod delete_content;
pub mod delete_tree;
pub mod discover;
pub mod disk;
pub mod identity;
pub mod name_locks;
pub mod query;
pub mod recover;
pub mod remove;
