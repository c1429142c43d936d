//! The life of a volume: creation, look-up, removal, and what a crash leaves.

pub mod create;
pub mod delete_trash;
pub mod discover;
pub mod disk;
pub mod identity;
pub mod name_locks;
pub mod query;
pub mod recover;
pub mod remove;
