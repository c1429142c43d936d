//! One mount whose source the store has found on the host.

use super::guest_path::GuestPath;
use super::option_names;
use super::options::{HostPermissions, MountFlags, StatVirtualization};
use super::serialize::{number, path, text};
use super::source::MountKind;
use super::subpath::Subpath;
use crate::model::{DiskFormat, OptionValue, VolumeName};
use std::path::{Path, PathBuf};

/// A mount as a runtime is to make it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedMount {
    /// Where it appears in the guest.
    pub guest_path: GuestPath,
    /// What appears there.
    pub origin: ResolvedSource,
    /// The flags.
    pub flags: MountFlags,
    /// How virtiofs shows owners and modes; none is the runtime's default.
    pub stat_virtualization: Option<StatVirtualization>,
    /// Whether permissions set in the guest reach the host; none is the runtime's default.
    pub host_permissions: Option<HostPermissions>,
}

/// Where a resolved mount's content is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedSource {
    /// A file or directory of the host.
    Bind {
        /// Its absolute path.
        host: PathBuf,
        /// Whether it is a file.
        file: bool,
    },
    /// A directory volume.
    Named {
        /// Its name.
        volume: VolumeName,
        /// The absolute path of what is mounted: its data directory, or a part of it.
        host: PathBuf,
        /// The path by which a runtime may open it: of a part, that of a descriptor, which leads to the very one that was
        /// found. It cannot be mounted from another mount name space.
        open: PathBuf,
        /// The part of the volume that is mounted; none is all of it.
        part: Option<MountedPart>,
        /// The most that it may take, in MiB; none is unlimited.
        quota_mib: Option<u32>,
    },
    /// Memory.
    Tmpfs {
        /// At most this much, in MiB; none leaves it to the runtime.
        size_mib: Option<u32>,
    },
    /// A disk image, be it a disk volume's or one of the host.
    Disk {
        /// The volume whose image it is; none for an image of the host.
        volume: Option<VolumeName>,
        /// The image's absolute path.
        host: PathBuf,
        /// The path by which a runtime is to open the image, which leads to the very file that was checked.
        open: PathBuf,
        /// What the image is.
        format: DiskFormat,
        /// The file system inside, where it is known.
        fstype: Option<String>,
    },
}

/// A part of a volume, which the attachment holds by a descriptor: whoever may write the volume could put something
/// else in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedPart {
    /// Its path in the volume.
    pub subpath: Subpath,
    /// The volume's data directory.
    pub root: PathBuf,
    /// Whether it is a file.
    pub is_file: bool,
    /// The number of the descriptor in this process.
    pub descriptor: i32,
}

impl ResolvedMount {
    /// The kind of mount that the caller asked for.
    pub fn kind(&self) -> MountKind {
        match self.origin {
            ResolvedSource::Bind { .. } => MountKind::Bind,
            ResolvedSource::Named { .. } => MountKind::Named,
            ResolvedSource::Tmpfs { .. } => MountKind::Tmpfs,
            ResolvedSource::Disk { volume: Some(_), .. } => MountKind::Named,
            ResolvedSource::Disk { volume: None, .. } => MountKind::Disk,
        }
    }

    /// The part of a volume that is mounted.
    pub fn part(&self) -> Option<&MountedPart> {
        match &self.origin {
            ResolvedSource::Named { part, .. } => part.as_ref(),
            _ => None,
        }
    }

    /// Whether a single file of the host is mounted.
    pub fn is_file(&self) -> bool {
        let is_bound = matches!(self.origin, ResolvedSource::Bind { file: true, .. });
        is_bound || self.part().is_some_and(|part| part.is_file)
    }

    /// The host path that the guest sees, where there is one.
    pub fn host(&self) -> Option<&Path> {
        match &self.origin {
            ResolvedSource::Bind { host, .. }
            | ResolvedSource::Named { host, .. }
            | ResolvedSource::Disk { host, .. } => Some(host),
            ResolvedSource::Tmpfs { .. } => None,
        }
    }
}

impl From<&ResolvedMount> for OptionValue {
    /// One entry of `attachment.mounts`.
    fn from(mount: &ResolvedMount) -> Self {
        let volume = match &mount.origin {
            ResolvedSource::Named { volume, .. } | ResolvedSource::Disk { volume: Some(volume), .. } => {
                Some(volume.as_str())
            }
            _ => None,
        };
        let size_mib = match &mount.origin {
            ResolvedSource::Tmpfs { size_mib } => *size_mib,
            _ => None,
        };
        let (format, fstype) = match &mount.origin {
            ResolvedSource::Disk { format, fstype, .. } => (Some(format.as_str()), fstype.as_deref()),
            _ => (None, None),
        };
        let fields = [
            (option_names::GUEST_PATH, text(Some(mount.guest_path.as_str()))),
            (option_names::KIND, text(Some(mount.kind().as_str()))),
            (option_names::HOST_PATH, mount.host().map_or(OptionValue::Absent, path)),
            (option_names::VOLUME, text(volume)),
            (option_names::SUBPATH, text(mount.part().map(|part| part.subpath.as_str()))),
            (option_names::FORMAT, text(format)),
            (option_names::FSTYPE, text(fstype)),
            (option_names::READONLY, OptionValue::Bool(mount.flags.readonly)),
            (option_names::NOEXEC, OptionValue::Bool(mount.flags.noexec)),
            (option_names::NOSUID, OptionValue::Bool(mount.flags.nosuid)),
            (option_names::NODEV, OptionValue::Bool(mount.flags.nodev)),
            (option_names::SIZE_MIB, number(size_mib)),
            (
                option_names::STAT_VIRTUALIZATION,
                text(mount.stat_virtualization.map(StatVirtualization::as_str)),
            ),
            (option_names::HOST_PERMISSIONS, text(mount.host_permissions.map(HostPermissions::as_str))),
        ];
        OptionValue::Object(fields.map(|(name, value)| (name.to_owned(), value)).into())
    }
}
