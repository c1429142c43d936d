//! Reads the metadata of an entry.

use super::open::open_path_only;
use super::{VolumePath, VolumeRoot, os_str};
use crate::error::Result;
use crate::sys::fd::AsFd;
use crate::sys::{FileStat, stat_at};
use std::ffi::OsStr;
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
        let follows = follow || path.demands_directory();
        let found = match path.entry() {
            Ok((parent, name, _)) if !follows => self.stat_link(&parent, os_str(name)),
            _ => self.resolve(path, |dir, rest| FileStat::of(open_path_only(dir, rest)?.as_fd())),
        };
        let syscall = if follows { "stat" } else { "lstat" };
        found.map(Stat::from).map_err(|error| self.io_error(syscall, path, error))
    }

    /// Returns the metadata of the entry `name` in the directory `parent`. Follows links to the directory only.
    fn stat_link(&self, parent: &VolumePath, name: &OsStr) -> io::Result<FileStat> {
        self.resolve(parent, |dir, rest| match rest.as_os_str() == "." {
            true => stat_at(dir.as_fd(), name),
            false => stat_at(open_path_only(dir, rest)?.as_fd(), name),
        })
    }
}

impl From<FileStat> for Stat {
    fn from(found: FileStat) -> Self {
        let (uid, gid) = found.owner();
        Stat {
            mode: found.type_and_mode(),
            size: found.length(),
            allocated_bytes: found.allocated(),
            uid,
            gid,
            nlink: found.links(),
            modified: found.modified(),
            accessed: found.accessed(),
            created: found.created(),
        }
    }
}
