//! What several suites share.

pub mod acl;
pub mod btrfs;
pub mod child;
pub mod cpu_time;
pub mod home;
pub mod idle_process;
pub mod immutable;
pub mod listing;
pub mod loop_devices;
pub mod memory;
pub mod methods;
pub mod mount_list;
pub mod mount_namespace;
pub mod openat2;
pub mod opens;
pub mod ordinary_user;
pub mod private;
pub mod read_only;
pub mod report;
pub mod skip;
pub mod snapshot;
pub mod swapper;
pub mod unmount;
pub mod volume;
pub mod watchdog;
pub mod worker;
