//! Opening regular files, and finding where a new one goes.

use super::{VolumePath, VolumeRoot, not_a_regular_file};
use crate::error::{Error, Result};
use crate::sys::{Access, reopen};
use cap_std::fs::{Dir, Metadata, OpenOptions, OpenOptionsExt};
use nix::errno::Errno;
use nix::libc;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;

/// How many links in a row are followed at the end of a path: as many as Linux follows.
const MAX_LINKS: usize = 40;

/// The entry that a write to a path makes or replaces.
#[derive(Debug)]
pub(super) struct EntryRef {
    pub holder: Dir,
    pub name: OsString,
}

impl VolumeRoot {
    /// Opens the regular file at `path`. It is looked at first by a descriptor that can do no I/O, so that
    /// neither a FIFO's other end nor a device's driver notices that one was refused.
    pub(super) fn open_regular(&self, path: &VolumePath, access: Access) -> Result<(File, Metadata)> {
        let mut looking = OpenOptions::new();
        looking.read(true).custom_flags(libc::O_PATH);
        let found = self.at("open", path, |dir, rest| dir.open_with(rest, &looking))?;
        let metadata = found.metadata();
        if access == Access::Read && metadata.as_ref().is_ok_and(Metadata::is_dir) {
            // Node opens a directory and is refused when it reads.
            return Err(self.refused("read", path, Errno::EISDIR.into()));
        }
        let metadata = self.regular(path, metadata)?;
        let opened = reopen(found.as_fd(), access).map_err(|error| self.refused("open", path, error))?;
        Ok((File::from(opened), metadata))
    }

    /// Where a file written to `path` goes. Links at its end are followed, also where they lead to a name that
    /// is still free.
    pub(super) fn place(&self, path: &VolumePath) -> Result<EntryRef> {
        self.resolve_entry(path, false)
    }

    /// Where a directory made at `path` goes, of which a slash at the end, also of a link, says nothing new.
    pub(super) fn resolve_directory_entry(&self, path: &VolumePath) -> Result<EntryRef> {
        self.resolve_entry(path, true)
    }

    fn resolve_entry(&self, path: &VolumePath, is_directory: bool) -> Result<EntryRef> {
        let mut followed = path.clone();
        for _ in 0..MAX_LINKS {
            let Ok((holder, name, must_be_directory)) = followed.entry() else {
                self.at("open", &followed, |dir, rest| dir.open_dir(rest))?;
                return Err(self.refused("open", path, Errno::EISDIR.into()));
            };
            let holder = self.at("open", &holder, |dir, rest| dir.open_dir(rest))?;
            match holder.read_link_contents(name) {
                Ok(link) if link.is_absolute() => {
                    return Err(Error::path_escape(path.as_str()).in_volume(self.volume.as_str()));
                }
                Ok(link) => followed = followed.through(&link),
                Err(error) if !is_no_link(&error) => return Err(self.refused("readlink", path, error)),
                Err(_) if must_be_directory && !is_directory => {
                    return Err(self.refused("open", path, Errno::EISDIR.into()));
                }
                Err(_) => return Ok(EntryRef { name: name.to_owned(), holder }),
            }
        }
        Err(self.refused("open", path, Errno::ELOOP.into()))
    }

    /// A regular file's metadata; anything else is refused.
    pub(super) fn regular(&self, path: &VolumePath, metadata: io::Result<Metadata>) -> Result<Metadata> {
        let metadata = metadata.map_err(|error| self.refused("stat", path, error))?;
        match (metadata.is_file(), metadata.is_dir()) {
            (true, _) => Ok(metadata),
            (_, true) => Err(self.refused("open", path, Errno::EISDIR.into())),
            _ => Err(not_a_regular_file("open", path).in_volume(self.volume.as_str())),
        }
    }
}

/// Nothing there, or something that is no link.
fn is_no_link(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput)
}
