//! The files of a volume: one call each for what a caller does with them.

pub mod copy;
pub mod entries;
pub mod ongoing_write;
pub mod root_cache;
pub mod streams;
pub mod volume_fs;
