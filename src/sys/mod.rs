//! The operating system: directories by descriptor, locks, mounts, processes.
//!
//! Only this room and the dispatcher may hold `unsafe` code.

#[cfg(not(target_os = "linux"))]
compile_error!("sandbox-volumes runs on Linux only so far");

mod btrfs;
mod fs;
mod lock;
mod memory;
mod mount;
mod process;
mod random;
mod temp_file;
mod unique_name;

/// File descriptors, owned and borrowed.
pub mod fd {
    pub use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
}

/// Extension traits of files, their metadata and OS strings: what `std` has on this platform only.
pub mod ext {
    pub use std::os::unix::ffi::OsStrExt;
    pub use std::os::unix::fs::{FileExt, MetadataExt};
}

pub use btrfs::Subvolume;
pub use fs::copy_range::{TransferBuffer, clone_content, has_length, next_data, read_piece, transfer};
pub use fs::dir::{Dir, FileId};
pub use fs::entry::{
    EntryReader, chown_link, create_directory, create_file, create_link, effective_ids, is_within,
    link_target, open_if_regular, open_o_path, remove_directory, rename_entry, unlink_entry,
};
pub use fs::file_stat::{EntryKind, FileStat, stat_at};
pub use fs::free_space::{
    STAT_BLOCK, free_space, has_birth_times, release, reserve, sync_file_system, time_since_boot,
};
pub use fs::host_entry::{
    HostEntry, open_host_entry, open_host_parent, open_without_links, readable_directory,
};
pub use fs::host_file::{Found, HostFile, open_beside, open_host_file};
pub use fs::open_beneath::{open_parent, open_subdirectory};
pub use fs::open_flags::PATH_ONLY_FLAG;
pub use fs::reflink_rename::ReflinkRename;
pub use fs::reopen::{Access, path_to_open, reopen};
pub use fs::restore_access::{regain_access, regain_access_to};
pub use fs::rights::{
    CopiedRights, Inheritance, chown_copy, give_to_owner_of, keep_acl, keep_attributes, keep_rights,
    mode_of_new_directory, set_mode,
};
pub use fs::sync_ancestors::sync_up_to;
pub use lock::file_lock::{ExistingLock, FileLock};
pub use lock::image_lock::{HeldFile, ImageLock, lock_image, lock_while_open};
pub use lock::instance_lock::{AddonInstance, InstanceGuard};
pub use lock::lease::lease_break_time;
pub use memory::huge_pages::reserve_memory;
pub use memory::memfd::file_in_memory;
pub use mount::detached_mount::{CallFailed, DetachedMount, Restrictions};
pub use mount::loop_device::LoopDevice;
pub use mount::mount_point::{CreatedEntry, MountPointError, open_mount_point};
pub use mount::mount_table::{MountIdentity, mount_namespaces_in_use, unmount_by_identity};
#[cfg(test)]
pub use process::identity::thread_id;
pub use process::identity::{ProcessLookup, boot_id, look_up_process, mount_namespace, pid_namespace};
#[cfg(feature = "node")]
pub use process::priority::set_thread_niceness;
pub use process::umask::umask;
pub use process::user_namespace::{
    ForeignTree, ReachableBy, may_be_unmapped, may_remove_of, remove_in_user_namespace,
};
pub use random::{random_bytes, random_uuid};
pub use temp_file::create_temp_file;
pub use unique_name::unique_token;
