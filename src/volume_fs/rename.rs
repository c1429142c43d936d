//! Giving an entry another name or another directory.

use super::{VolumePath, VolumeRoot, is_escape};
use crate::error::{Error, Result};
use cap_std::fs::Dir;
use nix::fcntl::renameat;
use std::ffi::{OsStr, OsString};
use std::io;

impl VolumeRoot {
    /// Renames an entry within the volume in one step, in place of a file or an empty directory that has the new
    /// name. A link at the end of either path is renamed or replaced itself.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> Result<()> {
        let (from, to) = (VolumePath::parse(from)?, VolumePath::parse(to)?);
        let failed = |at: &VolumePath, error: io::Error| {
            let error = match is_escape(&error) {
                true => Error::path_escape(at.as_str()),
                false => Error::file_system_between("rename", from.as_str(), to.as_str(), error),
            };
            error.in_volume(self.volume.as_str())
        };
        let ((from_holder, from_name), (to_holder, to_name)) = (entry(&from)?, entry(&to)?);
        let open = |at: &VolumePath, holder: &VolumePath| -> Result<Dir> {
            self.resolve(holder, |dir, rest| dir.open_dir(rest)).map_err(|error| failed(at, error))
        };
        let (from_dir, to_dir) = (open(&from, &from_holder)?, open(&to, &to_holder)?);
        renameat(&from_dir, from_name.as_os_str(), &to_dir, to_name.as_os_str())
            .map_err(|errno| failed(&from, errno.into()))
    }
}

/// The directory that holds an entry and its name there, with the slash that demands a directory: a link with one
/// is not followed here, but refused.
fn entry(path: &VolumePath) -> Result<(VolumePath, OsString)> {
    let (holder, name, must_be_directory) = path.entry()?;
    let mut name = name.to_owned();
    if must_be_directory {
        name.push("/");
    }
    Ok((holder, name))
}
