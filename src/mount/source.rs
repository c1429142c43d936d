//! The source of a mount.

use super::option_names;
use super::provision::Provision;
use super::subpath::Subpath;
use crate::error::{Error, Result};
use crate::model::{DiskFormat, OptionReader, VolumeKind, VolumeRef, name_of};
use std::path::PathBuf;

/// The longest file system name, in bytes.
const MAX_FSTYPE_BYTES: usize = 32;

/// The kinds of mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or directory of the host.
    Bind,
    /// A volume, by its name.
    Named,
    /// Memory of the guest's own.
    Tmpfs,
    /// A disk image of the host.
    Disk,
}

impl MountKind {
    /// The names that callers and JavaScript use.
    pub const NAMES: [(&'static str, MountKind); 4] = [
        ("bind", MountKind::Bind),
        ("named", MountKind::Named),
        ("tmpfs", MountKind::Tmpfs),
        ("disk", MountKind::Disk),
    ];

    /// Returns the kind's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }
}

/// The source as the caller stated it. The store resolves the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountSource {
    /// A file or directory of the host.
    Bind {
        /// Its absolute path.
        host: PathBuf,
    },
    /// A volume.
    Named {
        /// The volume's name, and its ID if only the volume with that ID is meant.
        volume: VolumeRef,
        /// Whether the volume must exist.
        provision: Provision,
        /// The mounted part of the volume. `None` means all of it.
        subpath: Option<Subpath>,
    },
    /// Memory.
    Tmpfs {
        /// The limit in MiB. `None` means the runtime's default.
        size_mib: Option<u32>,
    },
    /// A disk image of the host.
    Disk {
        /// Its absolute path.
        host: PathBuf,
        /// The stated format of the image. `None` means that it is detected.
        format: Option<DiskFormat>,
        /// The stated file system in the image. `None` means that it is detected.
        fstype: Option<String>,
    },
}

impl MountSource {
    /// Builds the source of a volume. Fails if it has an ID and the mount may create a volume.
    pub(super) fn named(volume: VolumeRef, provision: Provision, subpath: Option<Subpath>) -> Result<Self> {
        if volume.id.is_some() && provision.spec().is_some() {
            return Err(Error::invalid_config(
                option_names::VOLUME_ID,
                "means a volume that exists, which no mount creates; leave it or the mode unset",
            ));
        }
        Ok(MountSource::Named { volume, provision, subpath })
    }

    pub(super) fn tmpfs(fields: &OptionReader) -> Result<Self> {
        let size_mib = fields.u32(option_names::SIZE_MIB)?;
        if size_mib == Some(0) {
            return Err(Error::invalid_config(
                option_names::SIZE_MIB,
                "a tmpfs has at least 1 MiB; leave the size unset for the runtime's default",
            ));
        }
        Ok(MountSource::Tmpfs { size_mib })
    }

    pub(super) fn disk(host: PathBuf, fields: &OptionReader) -> Result<Self> {
        let format = fields.choice(option_names::FORMAT, &DiskFormat::NAMES)?;
        let fstype = fields.text(option_names::FSTYPE)?.map(check_fstype).transpose()?;
        Ok(MountSource::Disk { host, format, fstype })
    }

    /// Returns the kind of the mount.
    pub fn kind(&self) -> MountKind {
        match self {
            MountSource::Bind { .. } => MountKind::Bind,
            MountSource::Named { .. } => MountKind::Named,
            MountSource::Tmpfs { .. } => MountKind::Tmpfs,
            MountSource::Disk { .. } => MountKind::Disk,
        }
    }

    /// Reports whether the source may be a directory, which virtiofs shares. An existing volume may be a disk.
    pub(super) fn may_be_directory(&self) -> bool {
        match self {
            MountSource::Bind { .. } => true,
            MountSource::Named { provision, .. } => {
                provision.spec().is_none_or(|spec| spec.kind() == VolumeKind::Dir)
            }
            MountSource::Tmpfs { .. } | MountSource::Disk { .. } => false,
        }
    }
}

/// Checks a file system's name. It becomes part of mount commands, so only the characters of such names are allowed.
fn check_fstype(fstype: &str) -> Result<String> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '.' | '-');
    if fstype.is_empty() || fstype.len() > MAX_FSTYPE_BYTES || !fstype.chars().all(allowed) {
        let shown = fstype.chars().take(MAX_FSTYPE_BYTES + 1).collect::<String>();
        return Err(Error::invalid_config(
            option_names::FSTYPE,
            format!(
                "{shown:?} is not a file system name such as \"ext4\": lower-case letters, digits, \"_\", \".\" \
                 and \"-\" only, 1 to {MAX_FSTYPE_BYTES} bytes"
            ),
        ));
    }
    Ok(fstype.to_owned())
}
