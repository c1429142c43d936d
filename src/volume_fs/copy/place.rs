//! The source and the destination of a copy.

use super::endpoint::Endpoint;
use crate::error::{Errno, Result};
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::{EntryKind, FileStat};
use crate::volume_fs::open::EntryRef;
use crate::volume_fs::{VolumePath, VolumeRoot};
use std::ffi::OsString;

/// The top of the source, by an `O_PATH` descriptor.
#[derive(Debug)]
pub struct CopySource {
    /// The side of the copy, for messages.
    pub endpoint: Endpoint,
    /// The `O_PATH` descriptor.
    pub fd: OwnedFd,
    /// The metadata of the top.
    pub stat: FileStat,
}

/// The destination of a copy.
#[derive(Debug)]
pub struct CopyDest {
    /// The side of the copy, for messages.
    pub endpoint: Endpoint,
    /// Where the copy goes.
    pub place: CopyDestPlace,
}

/// Where a copy goes.
#[derive(Debug)]
pub enum CopyDestPlace {
    /// An existing directory, into which another is merged.
    Directory(OwnedFd),
    /// An entry of a directory, which may exist.
    Entry {
        /// The parent directory.
        parent: OwnedFd,
        /// The entry's name.
        name: OsString,
    },
}

impl VolumeRoot {
    /// Opens the entry at `path` with `O_PATH`. Follows links inside the volume.
    pub fn copy_source(&self, path: &VolumePath) -> Result<CopySource> {
        let fd: OwnedFd = self.open_path_only(path)?.into_std().into();
        let stat = FileStat::of(fd.as_fd()).map_err(|error| self.io_error("stat", path, error))?;
        Ok(CopySource { endpoint: Endpoint::in_volume(path.as_str(), &self.volume), fd, stat })
    }

    /// Resolves the destination of a copy of an entry of that kind to `path`. Follows links inside the volume.
    pub fn copy_target(&self, path: &VolumePath, kind: EntryKind) -> Result<CopyDest> {
        let endpoint = Endpoint::in_volume(path.as_str(), &self.volume);
        let place_of = |entry: EntryRef| CopyDestPlace::Entry {
            parent: entry.parent.into_std_file().into(),
            name: entry.name,
        };
        let place = match kind {
            EntryKind::Directory => match self.at("open", path, |dir, rest| dir.open_dir(rest)) {
                Ok(dir) => CopyDestPlace::Directory(dir.into_std_file().into()),
                Err(error) if error.is_refusal(&[Errno::ENOENT]) => {
                    place_of(self.resolve_directory_entry(path)?)
                }
                Err(error) => return Err(error),
            },
            _ => place_of(self.resolve_entry(path)?),
        };
        Ok(CopyDest { endpoint, place })
    }
}
