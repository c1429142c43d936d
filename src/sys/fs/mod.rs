//! Files and directories by descriptor: opening, permissions, copies, free space.

pub mod acl;
pub mod copy_range;
pub mod dir;
pub mod entry;
pub mod file_stat;
pub mod free_space;
pub mod host_entry;
pub mod host_file;
pub mod open_beneath;
pub mod open_flags;
pub mod other_users;
pub mod reflink_rename;
pub mod reopen;
pub mod restore_access;
pub mod rights;
pub mod sync_ancestors;
pub mod xattrs;
