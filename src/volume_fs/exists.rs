//! Checks whether an entry exists.

use super::{VolumePath, VolumeRoot};
use crate::error::{Errno, Result};

impl VolumeRoot {
    /// Returns whether `path` leads to an entry. Follows links inside the volume. Fails if that cannot be determined.
    pub fn exists(&self, path: &VolumePath) -> Result<bool> {
        match self.at("stat", path, |dir, rest| dir.metadata(rest)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_refusal(&[Errno::ENOENT, Errno::ENOTDIR]) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
