//! Mounts, mount points and loop devices.

pub mod detached_mount;
pub mod loop_device;
pub mod mount_point;
pub mod mount_table;
