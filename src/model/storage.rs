//! How a volume stores its data: in a directory or in a disk image.

use super::{DISK_FSTYPE, DiskFormat, DiskSpec, name_of};

/// The kind of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeKind {
    /// A directory on the host.
    Dir,
    /// A disk image that a guest mounts.
    Disk,
}

impl VolumeKind {
    /// The names that callers, the catalog and JavaScript use.
    pub const NAMES: [(&'static str, VolumeKind); 2] = [("dir", VolumeKind::Dir), ("disk", VolumeKind::Disk)];

    /// Returns the kind's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }

    /// Returns the kind with that name, or `None`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind)
    }
}

/// How a volume stores its data. `D` is the disk of an existing volume, or the [`DiskSpec`] of a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeStorage<D = VolumeDisk> {
    /// A directory on the host.
    Directory {
        /// The quota in MiB. `None` means unlimited.
        quota_mib: Option<u32>,
    },
    /// A disk image that a guest mounts.
    Disk(D),
}

impl<D> VolumeStorage<D> {
    /// Returns the kind: directory or disk.
    pub fn kind(&self) -> VolumeKind {
        match self {
            VolumeStorage::Directory { .. } => VolumeKind::Dir,
            VolumeStorage::Disk(_) => VolumeKind::Disk,
        }
    }

    /// Returns a directory's quota in MiB. Returns `None` if it is unlimited, and for a disk.
    pub fn quota_mib(&self) -> Option<u32> {
        match self {
            VolumeStorage::Directory { quota_mib } => *quota_mib,
            VolumeStorage::Disk(_) => None,
        }
    }

    /// Returns the disk, or `None` for a directory.
    pub fn disk(&self) -> Option<&D> {
        match self {
            VolumeStorage::Directory { .. } => None,
            VolumeStorage::Disk(disk) => Some(disk),
        }
    }
}

/// The disk of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeDisk {
    /// The image's format.
    pub format: DiskFormat,
    /// The virtual size in bytes. `None` if the volume was discovered and its image could not be read.
    pub capacity_bytes: Option<u64>,
    /// The file system that the disk was created with. `None` if the volume was discovered.
    pub fstype: Option<String>,
}

impl From<DiskSpec> for VolumeDisk {
    fn from(spec: DiskSpec) -> Self {
        VolumeDisk {
            format: spec.format(),
            capacity_bytes: Some(spec.capacity_bytes()),
            fstype: Some(DISK_FSTYPE.to_owned()),
        }
    }
}
