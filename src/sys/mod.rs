//! The operating system: directories by descriptor, locks, facts about processes.
//!
//! The only room besides the dispatcher that may hold `unsafe` code.

#[cfg(not(target_os = "linux"))]
compile_error!("sandbox-volumes runs on Linux only so far");

mod access;
mod acl;
mod attributes;
mod btrfs;
mod clone;
mod copies;
mod dir;
mod entries;
mod host_entry;
mod host_file;
mod in_use;
mod large_memory;
mod lease;
mod lock;
mod loop_device;
mod memory;
mod mount_point;
mod mount_table;
mod new_mount;
mod privacy;
mod process;
mod random;
mod record_lock;
mod reopen;
mod rights;
mod space;
mod stamp;
mod subdir;
mod sync_above;
mod temp_file;
mod token;
mod transfer;
mod umask;
mod user_namespace;

pub use access::{regain_access, regain_access_to};
pub use btrfs::Subvolume;
pub use clone::PassingClone;
pub use copies::LoadedCopy;
pub use dir::{Dir, FileId};
pub use entries::{
    EntryKind, Facts, Listing, create_directory, create_file, create_link, facts_at, give_link, is_within,
    link_target, look_at, open_if_regular, our_ids, remove_directory, rename_within, unlink_entry,
};
pub use host_entry::{HostEntry, open_host_entry, open_host_holder, open_without_links, readable_directory};
pub use host_file::{Found, HostFile, open_beside, open_host_file};
pub use in_use::{HeldFile, ImageLock, lock_image, lock_while_open};
pub use large_memory::reserve_memory;
pub use lease::lease_break_time;
pub use lock::{ExistingLock, FileLock};
pub use loop_device::LoopDevice;
pub use memory::file_in_memory;
pub use mount_point::{MadeEntry, MountPointError, open_mount_point};
pub use mount_table::{MountIdentity, mount_namespace, mount_namespaces_in_use, take_away};
pub use new_mount::{CallFailed, NewMount, Restrictions};
pub use process::{ProcessLookup, boot_id, look_up_process, pid_namespace};
pub use random::{random_bytes, random_uuid};
pub use reopen::{Access, path_to_open, reopen};
pub use rights::{
    CopiedRights, Inheritance, give_to_owner_of, inherited_group, keep_acl, keep_attributes, keep_rights,
    mode_of_new_directory,
};
pub use space::{STAT_BLOCK, free_space, release, reserve, time_since_boot};
pub use stamp::FileStamp;
pub use subdir::{open_parent, open_subdirectory};
pub use sync_above::sync_up_to;
pub use temp_file::create_temp_file;
pub use token::unique_token;
pub use transfer::{TransferBuffer, clone_content, has_length, next_data, read_piece, transfer};
pub use umask::umask;
pub use user_namespace::{Reach, may_remove_of, remove_in_user_namespace};
