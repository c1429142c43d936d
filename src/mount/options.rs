//! The flags and policies of a mount.

use super::option_names;
use crate::error::{Error, Result};
use crate::model::{OptionReader, name_of};

/// The mount flags. Each is off by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountFlags {
    /// Forbids writing through this mount.
    pub readonly: bool,
    /// Forbids executing programs on this mount.
    pub noexec: bool,
    /// Ignores set-user-ID and set-group-ID bits.
    pub nosuid: bool,
    /// Forbids opening device nodes.
    pub nodev: bool,
}

impl MountFlags {
    pub(super) fn read(fields: &OptionReader) -> Result<Self> {
        let flag = |name| Ok::<bool, Error>(fields.flag(name)?.unwrap_or(false));
        Ok(MountFlags {
            readonly: flag(option_names::READONLY)?,
            noexec: flag(option_names::NOEXEC)?,
            nosuid: flag(option_names::NOSUID)?,
            nodev: flag(option_names::NODEV)?,
        })
    }
}

/// How virtiofs shows owners and modes of files to a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatVirtualization {
    /// Stores the guest's values in an extended attribute. Fails if the host's file system has no attributes.
    Strict,
    /// Stores the guest's values in an extended attribute if possible, else shows the host's values.
    Relaxed,
    /// Shows the host's values.
    Off,
}

impl StatVirtualization {
    /// The names that callers and JavaScript use.
    pub const NAMES: [(&'static str, StatVirtualization); 3] = [
        ("strict", StatVirtualization::Strict),
        ("relaxed", StatVirtualization::Relaxed),
        ("off", StatVirtualization::Off),
    ];

    /// Returns the policy's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }
}

/// Whether permissions that a guest sets through virtiofs reach the host's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPermissions {
    /// They do not: only the guest sees them.
    Private,
    /// The read, write and execute bits of files and directories reach the host.
    Mirror,
}

impl HostPermissions {
    /// The names that callers and JavaScript use.
    pub const NAMES: [(&'static str, HostPermissions); 2] =
        [("private", HostPermissions::Private), ("mirror", HostPermissions::Mirror)];

    /// This policy's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }
}

/// Returns the option name of a virtiofs policy that is set, or `None`.
pub(super) fn virtiofs_policy(
    stat_virtualization: Option<StatVirtualization>,
    host_permissions: Option<HostPermissions>,
) -> Option<&'static str> {
    let stat_virtualization = stat_virtualization.map(|_| option_names::STAT_VIRTUALIZATION);
    stat_virtualization.or(host_permissions.map(|_| option_names::HOST_PERMISSIONS))
}
