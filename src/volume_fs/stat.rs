//! Telling what an entry is.

use super::quota::usage::allocated;
use super::{VolumePath, VolumeRoot};
use crate::error::Result;
use cap_std::fs::{Metadata, MetadataExt};
use cap_std::time::SystemTime as CapTime;
use std::ffi::OsStr;
use std::io;
use std::time::SystemTime;

/// What stands at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Kind and permission bits, as in `st_mode`.
    pub mode: u32,
    /// The length in bytes.
    pub size: u64,
    /// The bytes allocated on the host.
    pub allocated_bytes: u64,
    /// The user it belongs to, by the host's numbers.
    pub uid: u32,
    /// The group it belongs to, by the host's numbers.
    pub gid: u32,
    /// How many names it has.
    pub nlink: u64,
    /// When the content last changed; none where the file system tells a time that there is not.
    pub modified: Option<SystemTime>,
    /// When the content was last read, as far as the host keeps track.
    pub accessed: Option<SystemTime>,
    /// When it was made; none where the file system does not keep that.
    pub created: Option<SystemTime>,
}

impl VolumeRoot {
    /// What stands at `path`. A link inside the volume at its end is followed, unless `follow` is false: then what
    /// the link itself is.
    pub fn stat(&self, path: impl AsRef<OsStr>, follow: bool) -> Result<Stat> {
        let path = VolumePath::parse(path)?;
        // A slash at the end demands a directory, and a link before it is followed as everywhere.
        match follow || path.demands_directory() {
            true => self.at("stat", &path, |dir, rest| dir.metadata(rest).map(Stat::from)),
            false => self.at("lstat", &path, |dir, rest| dir.symlink_metadata(rest).map(Stat::from)),
        }
    }
}

impl From<Metadata> for Stat {
    fn from(found: Metadata) -> Self {
        let time = |told: io::Result<CapTime>| told.ok().map(CapTime::into_std);
        Stat {
            mode: found.mode(),
            size: found.len(),
            allocated_bytes: allocated(&found),
            uid: found.uid(),
            gid: found.gid(),
            nlink: found.nlink(),
            modified: time(found.modified()),
            accessed: time(found.accessed()),
            created: time(found.created()),
        }
    }
}
