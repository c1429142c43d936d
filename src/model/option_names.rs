//! The names of the options that describe a volume, each spelled once.

/// A volume's name.
pub const NAME: &str = "name";
/// The ID of an existing volume.
pub const VOLUME_ID: &str = "volumeId";
/// How the volume stores its data.
pub const KIND: &str = "kind";
/// A disk's size.
pub const SIZE_MIB: &str = "sizeMib";
/// A directory's quota.
pub const QUOTA_MIB: &str = "quotaMib";
/// The labels.
pub const LABELS: &str = "labels";
/// A disk's image format.
pub const FORMAT: &str = "format";
/// A path on the host, as an argument of its own.
pub const HOST_PATH: &str = "hostPath";
