//! Names, sizes, kinds and records: parsed on entry, then trusted.

#![forbid(unsafe_code)]

mod cancel;
mod disk;
/// The names of a volume's options.
pub mod field;
mod input;
mod labels;
mod name;
mod one_at_a_time;
mod process;
mod record;
mod relay;
mod slots;
mod spec;
mod volume_id;
mod waiting;

pub use cancel::{Cancel, LONGEST_WAIT, SLICE};
pub use disk::{DISK_FSTYPE, DiskFormat, MAX_DISK_MIB, MIN_DISK_MIB};
pub use input::{Fields, Input, name_of};
pub use labels::Labels;
pub use name::VolumeName;
pub use one_at_a_time::{OneAtATime, Taken};
pub use process::ProcessIdentity;
pub use record::VolumeRecord;
pub use relay::{Baton, Relay};
pub use slots::{Slot, Slots};
pub use spec::{DiskSpec, VolumeKind, VolumeOptions, VolumeSpec};
pub use volume_id::{VolumeId, VolumeRef};
pub use waiting::{Pool, join_pool, wait_in_pool};

/// Bytes in a MiB, the unit of every `…Mib` option.
pub const MIB: u64 = 1 << 20;
