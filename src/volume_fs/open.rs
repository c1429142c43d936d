//! Opens regular files, and resolves where a new file goes.

use super::{VolumePath, VolumeRoot, not_a_regular_file, os_str};
use crate::error::{Errno, Error, Result};
use crate::sys::ext::OsStrExt;
use crate::sys::fd::AsFd;
use crate::sys::{Access, PATH_ONLY_FLAG, reopen};
use cap_std::fs::{Dir, File as OpenedEntry, Metadata, OpenOptions, OpenOptionsExt};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// The most links in a row that are followed at the end of a path, as on Linux.
const MAX_LINKS: usize = 40;

/// The entry that a write to a path creates or replaces.
#[derive(Debug)]
pub(super) struct EntryRef {
    pub parent: Dir,
    pub name: OsString,
}

impl VolumeRoot {
    /// Opens the regular file at `path`. Opens it with `O_PATH` first, so that refusing a FIFO or device does not
    /// disturb its other end or driver.
    pub(super) fn open_regular(&self, path: &VolumePath, access: Access) -> Result<(File, Metadata)> {
        let found = self.open_path_only(path)?;
        let metadata = found.metadata();
        if access == Access::Read && metadata.as_ref().is_ok_and(Metadata::is_dir) {
            // Node opens a directory, and fails when it reads it.
            return Err(self.io_error("read", path, Errno::EISDIR.into()));
        }
        let metadata = self.regular(path, metadata)?;
        let opened = reopen(found.as_fd(), access).map_err(|error| self.io_error("open", path, error))?;
        Ok((File::from(opened), metadata))
    }

    /// Opens a descriptor of the entry at `path` that can do no I/O (`O_PATH`). Follows links inside the volume.
    pub(super) fn open_path_only(&self, path: &VolumePath) -> Result<OpenedEntry> {
        self.at("open", path, open_path_only)
    }

    /// Resolves the entry that a file written to `path` gets. Follows final links, also to a name that does not exist
    /// yet.
    pub(super) fn resolve_entry(&self, path: &VolumePath) -> Result<EntryRef> {
        self.follow_to_entry(path, false)
    }

    /// Resolves the entry that a directory created at `path` gets. Accepts a final slash, also after a link.
    pub(super) fn resolve_directory_entry(&self, path: &VolumePath) -> Result<EntryRef> {
        self.follow_to_entry(path, true)
    }

    fn follow_to_entry(&self, path: &VolumePath, is_directory: bool) -> Result<EntryRef> {
        let mut followed = path.clone();
        for _ in 0..MAX_LINKS {
            let Ok((parent, name, must_be_directory)) = followed.entry() else {
                self.at("open", &followed, |dir, rest| dir.open_dir(rest))?;
                return Err(self.io_error("open", path, Errno::EISDIR.into()));
            };
            let (name, parent) = (os_str(name), self.at("open", &parent, |dir, rest| dir.open_dir(rest))?);
            match parent.read_link_contents(name) {
                Ok(link) if link.is_absolute() => {
                    return Err(Error::path_escape(path.as_str()).in_volume(self.volume.as_str()));
                }
                Ok(link) => followed = followed.through(link.as_os_str().as_bytes()),
                Err(error) if !is_no_link(&error) => return Err(self.io_error("readlink", path, error)),
                Err(_) if must_be_directory && !is_directory => {
                    return Err(self.io_error("open", path, Errno::EISDIR.into()));
                }
                Err(_) => return Ok(EntryRef { name: name.to_owned(), parent }),
            }
        }
        Err(self.io_error("open", path, Errno::ELOOP.into()))
    }

    /// Returns the metadata of a regular file, and refuses any other entry.
    pub(super) fn regular(&self, path: &VolumePath, metadata: io::Result<Metadata>) -> Result<Metadata> {
        let metadata = metadata.map_err(|error| self.io_error("stat", path, error))?;
        match (metadata.is_file(), metadata.is_dir()) {
            (true, _) => Ok(metadata),
            (_, true) => Err(self.io_error("open", path, Errno::EISDIR.into())),
            _ => Err(not_a_regular_file("open", path).in_volume(self.volume.as_str())),
        }
    }
}

/// Opens an `O_PATH` descriptor of an entry below a directory. Follows links that stay below it.
pub(super) fn open_path_only(dir: &Dir, path: &Path) -> io::Result<OpenedEntry> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(PATH_ONLY_FLAG);
    dir.open_with(path, &options)
}

/// Returns whether the entry is missing or not a link.
fn is_no_link(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput)
}
