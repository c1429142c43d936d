//! Mount points of mounts below other mounts.
//!
//! A runtime creates a missing mount point, and follows a symbolic link at the mount point, with the host's paths and
//! rights. If a guest made the link, the runtime would mount elsewhere or create a file on the host.

use super::host_path::{open_held_directory, open_source_directory};
use crate::error::{Error, Result};
use crate::mount::{ResolvedMount, ResolvedSource};
use crate::sys::Dir;
use crate::volume_fs::{MountPoint, inspect_mount_point};
use std::path::Path;

/// Fails if a mount point inside another mount is not what a runtime needs.
pub fn check_mount_points(volumes: &Dir, mounts: &[ResolvedMount]) -> Result<()> {
    for (at, mount) in mounts.iter().enumerate() {
        let parent = mounts[..at]
            .iter()
            .rev()
            .find_map(|outer| mount.guest_path.below(&outer.guest_path).map(|rest| (outer, Path::new(rest))));
        if let Some((outer, rest)) = parent {
            check_mount_point(volumes, mount, (outer, rest))?;
        }
    }
    Ok(())
}

fn check_mount_point(
    volumes: &Dir,
    mount: &ResolvedMount,
    (outer, rest): (&ResolvedMount, &Path),
) -> Result<()> {
    let refused = |problem: String| Err(Error::invalid_guest_path(mount.guest_path.as_str(), problem));
    let outer_path = outer.guest_path.as_str();
    let (root, host) = match &outer.origin {
        // The content of a guest's file system cannot be checked. A link there does not lead to the host.
        ResolvedSource::Tmpfs { .. } | ResolvedSource::Disk { .. } => return Ok(()),
        _ if outer.is_file() => {
            return refused(format!("is below \"{outer_path}\", where a file is mounted"));
        }
        ResolvedSource::Bind { host, .. } => (open_source_directory(host)?, host),
        ResolvedSource::Named { open, host, part: Some(_), .. } => (open_held_directory(open)?, host),
        ResolvedSource::Named { volume, host, .. } => {
            (volumes.open_child(volume.as_str())?.try_clone()?, host)
        }
    };
    let wants_file = mount.is_file();
    match (inspect_mount_point(root, rest, &host.join(rest))?, wants_file) {
        (MountPoint::Directory, false) | (MountPoint::File, true) => Ok(()),
        (MountPoint::Missing, _) if !outer.flags.readonly => Ok(()),
        (MountPoint::Missing, _) => refused(format!(
            "does not exist in what is mounted read-only at \"{outer_path}\", and a runtime cannot make it; \
             make it there first"
        )),
        (found, _) => refused(format!(
            "is {} in what is mounted at \"{outer_path}\", and cannot be mounted on",
            match found {
                MountPoint::Directory => "a directory",
                MountPoint::File => "a file",
                _ => "a link, or behind one,",
            }
        )),
    }
}
