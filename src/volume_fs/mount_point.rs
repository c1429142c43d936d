//! Looking at where a runtime will mount something below a tree that a guest may have written.

use super::dir_from;
use crate::error::{Error, Result};
use crate::sys::open_subdirectory;
use nix::errno::Errno;
use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What stands at a mount point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountPoint {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// Nothing yet.
    Missing,
    /// A link, on the way or at the end, or something else that nothing can be mounted on.
    Unfit,
}

/// What stands at `path` below the directory `root`, no link followed. `shown` is its path in messages.
pub fn look_at_mount_point(root: OwnedFd, path: &Path, shown: &Path) -> Result<MountPoint> {
    let failed = |error| Error::file_system("stat", shown, error);
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Ok(MountPoint::Directory);
    };
    let holder = match parent.as_os_str().is_empty() {
        true => root,
        false => match open_subdirectory(root.as_fd(), parent) {
            Ok(holder) => holder,
            Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT) => return Ok(MountPoint::Missing),
                Some(Errno::ELOOP | Errno::ENOTDIR) => return Ok(MountPoint::Unfit),
                _ => return Err(failed(error)),
            },
        },
    };
    match dir_from(holder).symlink_metadata(name) {
        Ok(found) if found.is_dir() => Ok(MountPoint::Directory),
        Ok(found) if found.is_file() => Ok(MountPoint::File),
        Ok(_) => Ok(MountPoint::Unfit),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(MountPoint::Missing),
        Err(error) => Err(failed(error)),
    }
}
