//! What is copied, and where to: the two tops.

use super::endpoint::Endpoint;
use crate::error::Result;
use crate::sys::{EntryKind, FileStat};
use crate::volume_fs::open::EntryRef;
use crate::volume_fs::{VolumePath, VolumeRoot};
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use nix::errno::Errno;
use nix::libc;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

/// What is copied, by a descriptor that can do no I/O.
#[derive(Debug)]
pub struct CopySource {
    /// How messages name it.
    pub side: Endpoint,
    /// It.
    pub fd: OwnedFd,
    /// What it is.
    pub facts: FileStat,
}

/// Where it goes.
#[derive(Debug)]
pub struct CopyDest {
    /// How messages name it.
    pub side: Endpoint,
    /// The place.
    pub place: CopyDestPlace,
}

/// The place that a copy goes to.
#[derive(Debug)]
pub enum CopyDestPlace {
    /// A directory that is there, which another is merged into.
    Directory(OwnedFd),
    /// An entry of a directory, which may be there.
    Entry {
        /// The directory.
        holder: OwnedFd,
        /// The entry's name.
        name: OsString,
    },
}

impl VolumeRoot {
    /// What stands at `path`, links inside the volume followed.
    pub fn copy_source(&self, path: impl AsRef<OsStr>) -> Result<CopySource> {
        let path = VolumePath::parse(path)?;
        let mut looking = OpenOptions::new();
        looking.read(true).custom_flags(libc::O_PATH);
        let fd: OwnedFd =
            self.at("open", &path, |dir, rest| dir.open_with(rest, &looking))?.into_std().into();
        let facts = FileStat::of(fd.as_fd()).map_err(|error| self.refused("stat", &path, error))?;
        Ok(CopySource { side: Endpoint::in_volume(path.as_str(), &self.volume), fd, facts })
    }

    /// Where a copy of something of that kind to `path` goes, links inside the volume followed.
    pub fn copy_target(&self, path: impl AsRef<OsStr>, kind: EntryKind) -> Result<CopyDest> {
        let path = VolumePath::parse(path)?;
        let side = Endpoint::in_volume(path.as_str(), &self.volume);
        let entry = |place: EntryRef| CopyDestPlace::Entry {
            holder: place.holder.into_std_file().into(),
            name: place.name,
        };
        let place = match kind {
            EntryKind::Directory => match self.at("open", &path, |dir, rest| dir.open_dir(rest)) {
                Ok(dir) => CopyDestPlace::Directory(dir.into_std_file().into()),
                Err(error) if error.is_refusal(&[Errno::ENOENT]) => {
                    entry(self.resolve_directory_entry(&path)?)
                }
                Err(error) => return Err(error),
            },
            _ => entry(self.place(&path)?),
        };
        Ok(CopyDest { side, place })
    }
}
