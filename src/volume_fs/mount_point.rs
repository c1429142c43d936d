//! Inspects where a runtime will mount something below a tree that a guest may have written.

use crate::error::{Errno, Error, Result};
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::{EntryKind, open_subdirectory, stat_at};
use std::io::ErrorKind;
use std::path::Path;

/// The kind of entry at a mount point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountPoint {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// No entry yet.
    Missing,
    /// A link, as a parent or as the last component, or another entry that nothing can be mounted on.
    Unusable,
}

/// Returns the kind of entry at `path` below the directory `root`. Follows no link. `shown` is the path in messages.
pub fn inspect_mount_point(root: OwnedFd, path: &Path, shown: &Path) -> Result<MountPoint> {
    let io_error = |error| Error::file_system("stat", shown, error);
    let (Some(name), Some(parent_path)) = (path.file_name(), path.parent()) else {
        return Ok(MountPoint::Directory);
    };
    let parent = match parent_path.as_os_str().is_empty() {
        true => root,
        false => match open_subdirectory(root.as_fd(), parent_path) {
            Ok(parent) => parent,
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT) => return Ok(MountPoint::Missing),
                Some(Errno::ELOOP | Errno::ENOTDIR) => return Ok(MountPoint::Unusable),
                _ => return Err(io_error(error)),
            },
        },
    };
    match stat_at(parent.as_fd(), name).map(|found| found.kind()) {
        Ok(EntryKind::Directory) => Ok(MountPoint::Directory),
        Ok(EntryKind::File) => Ok(MountPoint::File),
        Ok(_) => Ok(MountPoint::Unusable),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(MountPoint::Missing),
        Err(error) => Err(io_error(error)),
    }
}
