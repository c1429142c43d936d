//! The files of a volume, with one call for each operation.

pub mod copy;
pub mod copy_request;
pub mod entries;
pub mod ongoing_write;
pub mod root_cache;
pub mod streams;
pub mod volume_fs;
