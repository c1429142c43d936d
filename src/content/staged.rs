//! New files that are written out of the guest's sight and put in place when they are whole.

use super::open::Place;
use super::usage::allocated;
use super::{RelPath, Tree};
use crate::error::{Error, Result};
use crate::model::Cancel;
use crate::sys::{Dir as StoreDir, FileLock};
use cap_std::fs::{Metadata, MetadataExt};
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::fchown;

/// The bits of `st_mode` that a mode can set.
const ALL_BITS: u32 = 0o7777;

/// Where a new file goes, and the one that it takes the place of.
pub(super) struct Target {
    pub place: Place,
    old: Option<Metadata>,
}

impl Target {
    /// The bytes that replacing the old file gives back. One with other names stays allocated.
    pub fn given_back(&self) -> u64 {
        self.old.as_ref().filter(|old| old.nlink() == 1).map_or(0, allocated)
    }
}

/// A file in staging, locked so that nobody takes it for a leftover.
#[derive(Debug)]
pub(super) struct Staged {
    name: String,
    file: File,
    /// The mode that a new file gets when it is put in place.
    mode: u32,
    _lock: FileLock,
}

impl Staged {
    /// Makes an empty one. What is put in place is a file with `mode` less the umask, or the mode of the one that it
    /// replaces; until then only its owner has rights on it.
    pub fn create(staging: &StoreDir, mode: u32) -> Result<Self> {
        let (name, lock, mode) = FileLock::create_unique(staging, mode)?;
        match lock.file().try_clone_to_owned() {
            Ok(file) => Ok(Staged { name, file: file.into(), mode, _lock: lock }),
            Err(error) => {
                staging.unlink(&name)?;
                Err(Error::file_system("dup", staging.path(), error))
            }
        }
    }

    /// The file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Deletes it.
    pub fn discard(&self, staging: &StoreDir) -> Result<()> {
        staging.unlink(&self.name)
    }
}

impl Tree {
    /// Where a file that replaces the one at `path` goes. What is no regular file is not replaced.
    pub(super) fn target(&self, path: &RelPath) -> Result<Target> {
        let place = self.place(path)?;
        let old = match place.holder.symlink_metadata(&place.name) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            // Put there this very moment.
            Ok(metadata) if metadata.is_symlink() => None,
            found => Some(self.regular(path, found)?),
        };
        Ok(Target { place, old })
    }

    /// Puts a whole file on disk and then in place of the old one, with whose mode and owner it goes. This is the
    /// point of no return.
    pub(super) fn put_in_place(
        &self,
        path: &RelPath,
        staged: &Staged,
        target: &Target,
        staging: &StoreDir,
        cancel: &Cancel,
    ) -> Result<()> {
        let refused = |error| self.refused("write", path, error);
        let old = target.old.as_ref();
        old.map_or(Ok(()), |old| keep_owner(&staged.file, old)).map_err(refused)?;
        let mode = old.map_or(staged.mode, |old| old.mode() & ALL_BITS);
        let _published = FileLock::publish(staging, mode).map_err(|error| self.told(error, path.as_str()))?;
        let given = fchmod(&staged.file, Mode::from_bits_truncate(mode)).map_err(io::Error::from);
        given.and_then(|()| staged.file.sync_all()).map_err(refused)?;
        cancel.commit()?;
        let file = (staged.name.as_str(), staged.file.as_fd());
        let put = staging.replace(file, self.root.as_fd(), target.place.holder.as_fd(), &target.place.name);
        put.map_err(|error| self.told(error, path.as_str()))
    }
}

/// An unprivileged process cannot give files away; then the new file is its own.
fn keep_owner(file: &File, old: &Metadata) -> io::Result<()> {
    match fchown(file, Some(old.uid()), Some(old.gid())) {
        Err(error) if error.raw_os_error() != Some(Errno::EPERM as i32) => Err(error),
        _ => Ok(()),
    }
}
