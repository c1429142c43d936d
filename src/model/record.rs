//! What the catalog knows of a volume.

use super::{DiskFormat, Labels, VolumeId, VolumeKind, VolumeName};

/// One row of the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// The number of the row, which means something in this catalog alone.
    pub id: i64,
    /// The id that the volume keeps, also in a catalog that was rebuilt.
    pub identity: VolumeId,
    /// The name.
    pub name: VolumeName,
    /// Directory or disk.
    pub kind: VolumeKind,
    /// A directory volume's quota in MiB; none is unlimited.
    pub quota_mib: Option<u32>,
    /// A disk volume's virtual size in bytes.
    pub capacity_bytes: Option<u64>,
    /// A disk volume's image format.
    pub disk_format: Option<DiskFormat>,
    /// A disk volume's inner file system.
    pub disk_fstype: Option<String>,
    /// The labels.
    pub labels: Labels,
    /// When it was created, in milliseconds since 1970; none where that is not known.
    pub created_at_ms: Option<i64>,
}
