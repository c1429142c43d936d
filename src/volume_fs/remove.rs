//! Removing one entry, or a tree.

use super::{Removal, VolumePath, VolumeRoot};
use crate::error::Result;
use crate::sys::Reach;
use cap_std::fs::Dir;
use nix::errno::Errno;
use std::ffi::OsStr;
use std::path::Path;

impl VolumeRoot {
    /// Removes one file, link (never its target) or empty directory.
    pub fn remove(&self, path: impl AsRef<OsStr>) -> Result<()> {
        let path = VolumePath::parse(path)?;
        let (holder, name, must_be_directory) = path.entry()?;
        let holder = self.open_holder("unlink", &holder)?;
        let unlinked = match must_be_directory {
            true => Err(Errno::EISDIR.into()),
            false => holder.remove_file(name),
        };
        match unlinked {
            Err(error) if error.raw_os_error() == Some(Errno::EISDIR as i32) => {
                holder.remove_dir(name).map_err(|error| self.refused("rmdir", &path, error))
            }
            result => result.map_err(|error| self.refused("unlink", &path, error)),
        }
    }

    /// Removes an entry and everything below it; a missing one is fine. A link is removed, never its target.
    pub fn remove_all(&self, path: impl AsRef<OsStr>) -> Result<()> {
        let removed = self.begin_remove_all(path)?.map_or(Ok(true), |mut removal| removal.go_on(None));
        removed.map(drop).map_err(|error| error.in_volume(self.volume.as_str()))
    }

    /// Prepares the removal of an entry and everything below it; returns `None` if nothing holds such an entry.
    pub fn begin_remove_all(&self, path: impl AsRef<OsStr>) -> Result<Option<Removal>> {
        let path = VolumePath::parse(path)?;
        let (holder, name, _) = path.entry()?;
        let holder = match self.open_holder("rm", &holder) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => return Ok(None),
            opened => opened?.into_std_file().into(),
        };
        let removal = Removal::new(holder, name, Path::new(path.as_str()));
        Ok(Some(removal.with_granted_ids(Reach::Guests)))
    }

    fn open_holder(&self, syscall: &'static str, holder: &VolumePath) -> Result<Dir> {
        self.at(syscall, holder, |dir, rest| dir.open_dir(rest))
    }
}
