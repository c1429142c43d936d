//! A mount whose source the store has resolved on the host.

use super::guest_path::GuestPath;
use super::options::{HostPermissions, MountFlags, StatVirtualization};
use super::source::MountKind;
use super::subpath::Subpath;
use crate::model::{DiskFormat, VolumeName};
use std::path::{Path, PathBuf};

/// A mount as a runtime makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedMount {
    /// The path in the guest.
    pub guest_path: GuestPath,
    /// The source.
    pub origin: ResolvedSource,
    /// The flags.
    pub flags: MountFlags,
    /// How virtiofs shows owners and modes. `None` means the runtime's default.
    pub stat_virtualization: Option<StatVirtualization>,
    /// Whether permissions set in the guest reach the host. `None` means the runtime's default.
    pub host_permissions: Option<HostPermissions>,
}

/// The source of a resolved mount.
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
        /// The absolute path of the mounted entry: the volume's data directory, or a part of it.
        host: PathBuf,
        /// The path by which a runtime opens it. For a part, this is the procfs path of a descriptor, which names the very
        /// entry that was resolved. A process of another mount namespace cannot mount it.
        open: PathBuf,
        /// The mounted part of the volume. `None` means all of it.
        part: Option<MountedPart>,
        /// The quota in MiB. `None` means unlimited.
        quota_mib: Option<u32>,
    },
    /// Memory.
    Tmpfs {
        /// The limit in MiB. `None` means the runtime's default.
        size_mib: Option<u32>,
    },
    /// A disk image of a disk volume or of the host.
    Disk {
        /// The image's volume. `None` for an image of the host.
        volume: Option<VolumeName>,
        /// The image's absolute path.
        host: PathBuf,
        /// The path by which a runtime opens the image. It names the very file that was inspected.
        open: PathBuf,
        /// The image's format.
        format: DiskFormat,
        /// The file system in the image, if it is known.
        fstype: Option<String>,
    },
}

/// A part of a volume. The attachment holds a descriptor of it, because a process that can write to the volume could
/// replace it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedPart {
    /// The path in the volume.
    pub subpath: Subpath,
    /// The volume's data directory.
    pub root: PathBuf,
    /// Whether it is a file.
    pub is_file: bool,
    /// The descriptor's number in this process.
    pub descriptor: i32,
}

impl ResolvedMount {
    /// Returns the kind of mount that the caller requested.
    pub fn kind(&self) -> MountKind {
        match self.origin {
            ResolvedSource::Bind { .. } => MountKind::Bind,
            ResolvedSource::Named { .. } => MountKind::Named,
            ResolvedSource::Tmpfs { .. } => MountKind::Tmpfs,
            ResolvedSource::Disk { volume: Some(_), .. } => MountKind::Named,
            ResolvedSource::Disk { volume: None, .. } => MountKind::Disk,
        }
    }

    /// Returns the mounted part of a volume, or `None`.
    pub fn part(&self) -> Option<&MountedPart> {
        match &self.origin {
            ResolvedSource::Named { part, .. } => part.as_ref(),
            _ => None,
        }
    }

    /// Reports whether the mount is a single file of the host.
    pub fn is_file(&self) -> bool {
        let is_bound = matches!(self.origin, ResolvedSource::Bind { file: true, .. });
        is_bound || self.part().is_some_and(|part| part.is_file)
    }

    /// Returns the host path that the guest sees, or `None`.
    pub fn host(&self) -> Option<&Path> {
        match &self.origin {
            ResolvedSource::Bind { host, .. }
            | ResolvedSource::Named { host, .. }
            | ResolvedSource::Disk { host, .. } => Some(host),
            ResolvedSource::Tmpfs { .. } => None,
        }
    }
}
