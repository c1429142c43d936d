//! A volume's row in the catalog.

use super::{Labels, VolumeId, VolumeName, VolumeStorage};

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
    pub storage: VolumeStorage,
    /// The labels.
    pub labels: Labels,
    /// The creation time in milliseconds since 1970. `None` if it is unknown.
    pub created_at_ms: Option<i64>,
}
