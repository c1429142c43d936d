//! What may be asked of a mount besides its source.

use super::option_names;
use crate::error::{Error, Result};
use crate::model::{OptionReader, name_of};

/// The mount flags; each is off unless asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MountFlags {
    /// Nothing can be written through this mount.
    pub readonly: bool,
    /// Nothing on this mount can be executed.
    pub noexec: bool,
    /// Set-user-id and set-group-id bits have no effect.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
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

/// How virtiofs shows a guest the owners and modes of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatVirtualization {
    /// What the guest sets is kept in an extended attribute; a host file system without them is an error.
    Strict,
    /// The same where the host file system can keep it, the host's own values elsewhere.
    Relaxed,
    /// The host's own values.
    Off,
}

impl StatVirtualization {
    /// The names that callers and JavaScript use.
    pub const NAMES: [(&'static str, StatVirtualization); 3] = [
        ("strict", StatVirtualization::Strict),
        ("relaxed", StatVirtualization::Relaxed),
        ("off", StatVirtualization::Off),
    ];

    /// This policy's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }
}

/// Whether the permissions that a guest sets through virtiofs reach the host's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPermissions {
    /// They do not: the guest sees them, the host's file keeps its own.
    Private,
    /// The read, write and execute bits of files and directories do.
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

/// The name of a virtiofs-only policy that was asked for, if one was.
pub(super) fn virtiofs_policy(
    stat_virtualization: Option<StatVirtualization>,
    host_permissions: Option<HostPermissions>,
) -> Option<&'static str> {
    let stat_virtualization = stat_virtualization.map(|_| option_names::STAT_VIRTUALIZATION);
    stat_virtualization.or(host_permissions.map(|_| option_names::HOST_PERMISSIONS))
}
