//! Removes one entry, or a tree.

use super::{Removal, VolumePath, VolumeRoot, os_str};
use crate::error::{Errno, Result};
use crate::sys::fd::AsFd;
use cap_std::fs::Dir;
use std::path::Path;

impl VolumeRoot {
    /// Removes one file, link (never its target) or empty directory.
    pub fn remove(&self, path: &VolumePath) -> Result<()> {
        let (parent, name, must_be_directory) = path.entry()?;
        let name = os_str(name);
        let parent = self.open_parent_dir("unlink", &parent)?;
        let unlinked = match must_be_directory {
            true => Err(Errno::EISDIR.into()),
            false => parent.remove_file(name),
        };
        match unlinked {
            Err(error) if error.raw_os_error() == Some(Errno::EISDIR as i32) => {
                parent.remove_dir(name).map_err(|error| self.io_error("rmdir", path, error))
            }
            result => result.map_err(|error| self.io_error("unlink", path, error)),
        }
    }

    /// Removes an entry and everything below it. A missing entry is not an error. Removes a link, never its target.
    pub fn remove_all(&self, path: &VolumePath) -> Result<()> {
        let removed = self.begin_remove_all(path)?.map_or(Ok(true), |mut removal| removal.advance(None));
        removed.map(drop).map_err(|error| error.in_volume(self.volume.as_str()))
    }

    /// Prepares the removal of an entry and everything below it. Returns `None` if the parent directory is missing.
    pub fn begin_remove_all(&self, path: &VolumePath) -> Result<Option<Removal>> {
        let (parent, name, _) = path.entry()?;
        let parent = match self.open_parent_dir("rm", &parent) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => return Ok(None),
            opened => opened?.into_std_file().into(),
        };
        let removal = Removal::new(parent, os_str(name), Path::new(path.as_str()));
        let root =
            self.root.as_fd().try_clone_to_owned().map_err(|error| self.io_error("rm", path, error))?;
        Ok(Some(removal.with_granted_ids_in_volume(root)))
    }

    fn open_parent_dir(&self, syscall: &'static str, parent: &VolumePath) -> Result<Dir> {
        self.at(syscall, parent, |dir, rest| dir.open_dir(rest))
    }
}
