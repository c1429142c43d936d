//! Locks on files, between threads, processes, homes and instances of the addon.

pub mod file_lock;
pub mod image_lock;
pub mod instance_lock;
pub mod lease;
pub mod record_lock;
