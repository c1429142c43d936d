//! Attachments: the volumes and disks that a sandbox holds until it is detached or its process ends.

pub mod attachment;
pub mod detach;
pub mod disk;
pub mod fd_registry;
pub mod host_path;
pub mod liveness;
pub mod microsandbox;
pub mod mount_into;
pub mod mount_lock;
pub mod mount_points;
pub mod pending;
pub mod query;
pub mod subpath;
