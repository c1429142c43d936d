//! A volume's row in the catalog.

use super::{DiskFormat, Labels, VolumeId, VolumeKind, VolumeName};

/// A volume's row in the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// The row's ID, which is valid in this catalog only.
    pub id: i64,
    /// The volume's permanent ID, which it keeps in a rebuilt catalog.
    pub identity: VolumeId,
    /// The volume's name.
    pub name: VolumeName,
    /// Directory or disk.
    pub kind: VolumeKind,
    /// A directory volume's quota in MiB. `None` means unlimited.
    pub quota_mib: Option<u32>,
    /// A disk volume's virtual size in bytes.
    pub capacity_bytes: Option<u64>,
    /// A disk volume's image format.
    pub disk_format: Option<DiskFormat>,
    /// A disk volume's inner file system.
    pub disk_fstype: Option<String>,
    /// The labels.
    pub labels: Labels,
    /// The creation time in milliseconds since 1970. `None` if it is unknown.
    pub created_at_ms: Option<i64>,
}
