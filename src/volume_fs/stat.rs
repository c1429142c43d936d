//! Reads the metadata of an entry.

use super::quota::usage::allocated;
use super::{VolumePath, VolumeRoot};
use crate::error::Result;
use cap_std::fs::{Metadata, MetadataExt};
use cap_std::time::SystemTime as CapTime;
use std::io;
use std::time::SystemTime;

/// The metadata of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Kind and permission bits, as in `st_mode`.
    pub mode: u32,
    /// The length in bytes.
    pub size: u64,
    /// The bytes allocated on the host.
    pub allocated_bytes: u64,
    /// The user ID of the owner on the host.
    pub uid: u32,
    /// The group ID on the host.
    pub gid: u32,
    /// The number of hard links.
    pub nlink: u64,
    /// When the content last changed; `None` if the file system returns an invalid time.
    pub modified: Option<SystemTime>,
    /// When the content was last read, as far as the host records it.
    pub accessed: Option<SystemTime>,
    /// When the entry was created; `None` if the file system does not record it.
    pub created: Option<SystemTime>,
}

impl VolumeRoot {
    /// Returns the metadata of the entry at `path`. Follows a final link inside the volume if `follow`; otherwise
    /// returns that of the link itself.
    pub fn stat(&self, path: &VolumePath, follow: bool) -> Result<Stat> {
        // A trailing slash demands a directory, so a link before it is followed, as everywhere.
        match follow || path.demands_directory() {
            true => self.at("stat", path, |dir, rest| dir.metadata(rest).map(Stat::from)),
            false => self.at("lstat", path, |dir, rest| dir.symlink_metadata(rest).map(Stat::from)),
        }
    }
}

impl From<Metadata> for Stat {
    fn from(found: Metadata) -> Self {
        let time = |time: io::Result<CapTime>| time.ok().map(CapTime::into_std);
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
