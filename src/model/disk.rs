//! The formats and size limits of disk images.

use super::name_of;

/// The smallest disk, in MiB. Ext4's smallest journal takes 4 MiB; the rest is for metadata and files.
pub const MIN_DISK_MIB: u32 = 5;

/// The largest disk, in MiB: 16 TiB, which is 2^32 blocks of 4 KiB.
pub const MAX_DISK_MIB: u32 = 16 << 20;

/// The file system in a new disk volume.
pub const DISK_FSTYPE: &str = "ext4";

/// The format of a disk image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFormat {
    /// The disk's bytes and nothing else.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
    /// VMware's format.
    Vmdk,
}

impl DiskFormat {
    /// The names that callers and JavaScript use.
    pub const NAMES: [(&'static str, DiskFormat); 3] =
        [("raw", DiskFormat::Raw), ("qcow2", DiskFormat::Qcow2), ("vmdk", DiskFormat::Vmdk)];

    /// Returns the format's name.
    pub fn as_str(self) -> &'static str {
        name_of(&Self::NAMES, self)
    }

    /// Returns the format with that name, or `None`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format)
    }
}
