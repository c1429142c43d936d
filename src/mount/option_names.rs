//! The names of options and of a plain object's fields, each spelled once.

pub(super) use crate::model::option_names::{
    FORMAT, HOST_PATH, KIND, LABELS, NAME, QUOTA_MIB, SIZE_MIB, VOLUME_ID,
};

pub(super) const BIND: &str = "bind";
pub(super) const DISK: &str = "disk";
pub(super) const FSTYPE: &str = "fstype";
pub(super) const HOST_PERMISSIONS: &str = "hostPermissions";
pub(super) const MODE: &str = "mode";
pub(super) const NAMED: &str = "named";
pub(super) const NAMED_KIND: &str = "namedKind";
pub(super) const NAMED_MODE: &str = "namedMode";
pub(super) const NODEV: &str = "nodev";
pub(super) const NOEXEC: &str = "noexec";
pub(super) const NOSUID: &str = "nosuid";
pub(super) const READONLY: &str = "readonly";
pub(super) const STAT_VIRTUALIZATION: &str = "statVirtualization";
pub(super) const SUBPATH: &str = "subpath";
pub(super) const TMPFS: &str = "tmpfs";
