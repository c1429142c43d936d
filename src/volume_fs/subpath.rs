//! Opens a directory or file of a volume that is to be mounted by itself.

use super::{VolumePath, VolumeRoot};
use crate::error::{Errno, Error, Result};
use crate::sys::fd::OwnedFd;

/// A directory or regular file of a volume, by an `O_PATH` descriptor that stays valid when the path changes.
#[derive(Debug)]
pub struct PinnedSubpath {
    /// The descriptor.
    pub descriptor: OwnedFd,
    /// Whether it is a file.
    pub is_file: bool,
}

impl VolumeRoot {
    /// Opens the directory or regular file at `path` with `O_PATH`. Follows links inside the volume.
    pub fn pin_subpath(&self, path: &VolumePath) -> Result<PinnedSubpath> {
        let found = self.open_path_only(path)?;
        let metadata = found.metadata().map_err(|error| self.io_error("stat", path, error))?;
        if !metadata.is_file() && !metadata.is_dir() {
            let problem = "neither a file nor a directory";
            let error = Error::file_system_because("open", path.as_str(), Errno::ENOTSUP, problem);
            return Err(error.in_volume(self.volume.as_str()));
        }
        Ok(PinnedSubpath { descriptor: found.into_std().into(), is_file: metadata.is_file() })
    }
}
