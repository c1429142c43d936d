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
    _lock: FileLock,
}

impl Staged {
    /// Makes an empty one with `mode` less the umask.
    pub fn create(staging: &StoreDir, mode: u32) -> Result<Self> {
        let (name, lock) = FileLock::create_unique(staging, mode)?;
        match lock.file().try_clone_to_owned() {
            Ok(file) => Ok(Staged { name, file: file.into(), _lock: lock }),
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
        let kept = target.old.as_ref().map_or(Ok(()), |old| keep_mode_and_owner(&staged.file, old));
        kept.and_then(|()| staged.file.sync_all()).map_err(|error| self.refused("write", path, error))?;
        cancel.commit()?;
        let put =
            staging.replace(&staged.name, self.root.as_fd(), target.place.holder.as_fd(), &target.place.name);
        put.map_err(|error| self.told(error, path.as_str()))
    }
}

/// An unprivileged process cannot give files away; then the new file is its own.
fn keep_mode_and_owner(file: &File, old: &Metadata) -> io::Result<()> {
    match fchown(file, Some(old.uid()), Some(old.gid())) {
        Err(error) if error.raw_os_error() != Some(Errno::EPERM as i32) => return Err(error),
        _ => {}
    }
    Ok(fchmod(file, Mode::from_bits_truncate(old.mode()))?)
}
