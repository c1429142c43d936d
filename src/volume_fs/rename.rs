//! Renames entries.

use super::{VolumePath, VolumeRoot, is_escape, os_str};
use crate::error::{Error, Result};
use crate::sys::fd::AsFd;
use crate::sys::rename_entry;
use cap_std::fs::Dir;
use std::ffi::OsString;
use std::io;

impl VolumeRoot {
    /// Renames an entry within the volume in one step. Replaces a file or an empty directory that has the new name.
    /// Renames or replaces a final link itself.
    pub fn rename(&self, from: &VolumePath, to: &VolumePath) -> Result<()> {
        let io_error = |at: &VolumePath, error: io::Error| {
            let error = match is_escape(&error) {
                true => Error::path_escape(at.as_str()),
                false => Error::file_system_between("rename", from.as_str(), to.as_str(), error),
            };
            error.in_volume(self.volume.as_str())
        };
        let ((from_parent, from_name), (to_parent, to_name)) = (entry(from)?, entry(to)?);
        let open = |at: &VolumePath, parent: &VolumePath| -> Result<Dir> {
            self.resolve(parent, |dir, rest| dir.open_dir(rest)).map_err(|error| io_error(at, error))
        };
        let (from_dir, to_dir) = (open(from, &from_parent)?, open(to, &to_parent)?);
        rename_entry(from_dir.as_fd(), &from_name, to_dir.as_fd(), &to_name)
            .map_err(|error| io_error(from, error))
    }
}

/// Returns the parent and the name of an entry, with the slash that demands a directory. A link with a slash is refused
/// here, not followed.
fn entry(path: &VolumePath) -> Result<(VolumePath, OsString)> {
    let (parent, name, must_be_directory) = path.entry()?;
    let mut name = os_str(name).to_owned();
    if must_be_directory {
        name.push("/");
    }
    Ok((parent, name))
}
