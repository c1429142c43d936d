//! New files that are written out of the guest's sight and put in place when they are whole.

use super::open::EntryRef;
use super::{VolumePath, VolumeRoot, not_a_regular_file};
use crate::error::{Error, Result};
use crate::sync::CancelToken;
use crate::sys::{
    Dir as StoreDir, EntryKind, FileLock, FileStat, Inheritance, create_temp_file, keep_rights, open_o_path,
    umask,
};
use nix::errno::Errno;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where a new file goes, and the one that it takes the place of.
#[derive(Debug)]
pub(super) struct PublishTarget {
    pub place: EntryRef,
    /// It, by a descriptor that can do no I/O.
    old: Option<(OwnedFd, FileStat)>,
}

impl PublishTarget {
    /// The bytes that replacing the old file gives back. One with other names stays allocated.
    pub fn given_back(&self) -> u64 {
        let old = self.old.as_ref().filter(|(_, facts)| !facts.has_other_names());
        old.map_or(0, |(_, facts)| facts.allocated())
    }

    /// What a file has in the end that is put in place: what the old one has, or what a new one has that is made here
    /// with `mode`.
    fn rights(&self, mode: u32) -> io::Result<Rights<'_>> {
        if let Some((old, facts)) = &self.old {
            return Ok(Rights::Kept(old.as_fd(), facts.mode()));
        }
        let inheritance = Inheritance::of(self.place.holder.as_fd())?;
        let mode = if inheritance.has_acl() { mode } else { mode & !umask()? };
        Ok(Rights::Inherited(inheritance, mode))
    }
}

/// Owner, mode, ACL and attributes of a file that is put in place.
enum Rights<'t> {
    /// Of the old one, which has this mode.
    Kept(BorrowedFd<'t>, u32),
    /// Of a new one that is made with this mode.
    Inherited(Inheritance, u32),
}

impl Rights<'_> {
    /// The mode, as far as it is known. A directory's ACL may leave nothing of it.
    fn mode(&self) -> u32 {
        match self {
            Rights::Inherited(inheritance, _) if inheritance.has_acl() => 0,
            Rights::Kept(_, mode) | Rights::Inherited(_, mode) => *mode,
        }
    }

    /// Gives them to a whole file, on which only its owner has rights so far.
    fn give(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Rights::Kept(old, _) => keep_rights(*old, file),
            Rights::Inherited(inheritance, mode) => inheritance.give(file, *mode),
        }
    }
}

/// A file in staging, locked so that nobody takes it for a leftover.
#[derive(Debug)]
pub(super) struct TempFile {
    name: String,
    file: File,
    /// The mode that a new file is asked to have when it is put in place.
    mode: u32,
    _lock: FileLock,
}

impl TempFile {
    /// Makes an empty one, to be put in the directory of `target`. What is put in place has the rights of the file that it
    /// replaces, or is as if it were made there with `mode`; until then only its owner has rights on it.
    pub fn create(staging: &StoreDir, target: &PublishTarget, mode: u32) -> Result<Self> {
        let (name, lock) = create_temp_file(staging, target.place.holder.as_fd())?;
        match lock.file().try_clone_to_owned() {
            Ok(file) => Ok(TempFile { name, file: file.into(), mode, _lock: lock }),
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

impl VolumeRoot {
    /// Where a file that replaces the one at `path` goes. What is no regular file is not replaced.
    pub(super) fn target(&self, path: &VolumePath) -> Result<PublishTarget> {
        let place = self.place(path)?;
        let old = match open_o_path(place.holder.as_fd(), &place.name) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(self.refused("stat", path, error)),
            Ok((fd, facts)) => match facts.kind() {
                EntryKind::File => Some((fd, facts)),
                // Put there this very moment.
                EntryKind::Link => None,
                EntryKind::Directory => return Err(self.refused("open", path, Errno::EISDIR.into())),
                EntryKind::Special => {
                    return Err(not_a_regular_file("open", path).in_volume(self.volume.as_str()));
                }
            },
        };
        Ok(PublishTarget { place, old })
    }

    /// Puts a whole file on disk and then in place of the old one, with whose rights and attributes it goes. This is the
    /// point of no return.
    pub(super) fn publish(
        &self,
        path: &VolumePath,
        staged: &TempFile,
        target: &PublishTarget,
        staging: &StoreDir,
        cancel: &CancelToken,
    ) -> Result<()> {
        let refused = |error| self.refused("write", path, error);
        let rights = target.rights(staged.mode).map_err(refused)?;
        let _published =
            FileLock::publish(staging, rights.mode()).map_err(|error| self.told(error, path.as_str()))?;
        let given = rights.give(staged.file.as_fd());
        given.and_then(|()| staged.file.sync_all()).map_err(refused)?;
        cancel.commit()?;
        let file = (staged.name.as_str(), staged.file.as_fd());
        let (root, holder) = (self.root.as_fd(), target.place.holder.as_fd());
        let put = staging.replace(file, root, holder, &target.place.name, &|file| rights.give(file));
        put.map_err(|error| self.told(error, path.as_str()))
    }
}
