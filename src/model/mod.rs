//! Names, sizes, kinds and records. Each is parsed once, and trusted afterwards.

#![forbid(unsafe_code)]

mod disk;
mod labels;
mod name;
/// The names of a volume's options.
pub mod option_names;
mod option_value;
mod process;
mod record;
mod spec;
mod storage;
mod volume_id;
mod volume_path;

pub use disk::{DISK_FSTYPE, DiskFormat, MAX_DISK_MIB, MIN_DISK_MIB};
pub use labels::Labels;
pub use name::VolumeName;
pub use option_value::{OptionReader, OptionValue, name_of};
pub use process::ProcessIdentity;
pub use record::VolumeRecord;
pub use spec::{DiskSpec, VolumeOptions, VolumeSpec};
pub use storage::{VolumeDisk, VolumeKind, VolumeStorage};
pub use volume_id::{VolumeId, VolumeRef};
pub use volume_path::{IntoVolumePath, VolumePath};

/// Bytes in a MiB, the unit of every `…Mib` option.
pub const MIB: u64 = 1 << 20;
