//! What is copied, and where to: the two tops.

use super::side::Side;
use crate::content::open::Place;
use crate::content::{RelPath, Tree};
use crate::error::Result;
use crate::sys::{EntryKind, Facts};
use cap_std::fs::{OpenOptions, OpenOptionsExt};
use nix::errno::Errno;
use nix::libc;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

/// What is copied, by a descriptor that can do no I/O.
#[derive(Debug)]
pub struct Source {
    /// How messages name it.
    pub side: Side,
    /// It.
    pub fd: OwnedFd,
    /// What it is.
    pub facts: Facts,
}

/// Where it goes.
#[derive(Debug)]
pub struct Target {
    /// How messages name it.
    pub side: Side,
    /// The place.
    pub place: TargetPlace,
}

/// The place that a copy goes to.
#[derive(Debug)]
pub enum TargetPlace {
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

impl Tree {
    /// What stands at `path`, links inside the volume followed.
    pub fn copy_source(&self, path: impl AsRef<OsStr>) -> Result<Source> {
        let path = RelPath::parse(path)?;
        let mut looking = OpenOptions::new();
        looking.read(true).custom_flags(libc::O_PATH);
        let fd: OwnedFd =
            self.at("open", &path, |dir, rest| dir.open_with(rest, &looking))?.into_std().into();
        let facts = Facts::of(fd.as_fd()).map_err(|error| self.refused("stat", &path, error))?;
        Ok(Source { side: Side::in_volume(path.as_str(), &self.volume), fd, facts })
    }

    /// Where a copy of something of that kind to `path` goes, links inside the volume followed.
    pub fn copy_target(&self, path: impl AsRef<OsStr>, kind: EntryKind) -> Result<Target> {
        let path = RelPath::parse(path)?;
        let side = Side::in_volume(path.as_str(), &self.volume);
        let entry = |place: Place| TargetPlace::Entry {
            holder: place.holder.into_std_file().into(),
            name: place.name,
        };
        let place = match kind {
            EntryKind::Directory => match self.at("open", &path, |dir, rest| dir.open_dir(rest)) {
                Ok(dir) => TargetPlace::Directory(dir.into_std_file().into()),
                Err(error) if error.is_refusal(&[Errno::ENOENT]) => entry(self.place_of_directory(&path)?),
                Err(error) => return Err(error),
            },
            _ => entry(self.place(&path)?),
        };
        Ok(Target { side, place })
    }
}
