//! Writes new files where no guest sees them, and publishes each when it is complete.

use super::open::EntryRef;
use super::{VolumePath, VolumeRoot, WriteContext, not_a_regular_file};
use crate::error::{Errno, Error, Result};
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::{
    Dir as StoreDir, EntryKind, FileLock, FileStat, Inheritance, create_temp_file, keep_rights, open_o_path,
    umask,
};
use std::fs::File;
use std::io::{self, ErrorKind};

/// The entry that a new file is published at, and the file that it replaces.
#[derive(Debug)]
pub(super) struct PublishTarget {
    pub entry: EntryRef,
    /// The old file, by an `O_PATH` descriptor.
    old: Option<(OwnedFd, FileStat)>,
}

impl PublishTarget {
    /// Returns how many bytes replacing the old file frees. A file with other hard links stays allocated.
    pub fn freed(&self) -> u64 {
        let old = self.old.as_ref().filter(|(_, stat)| !stat.has_other_names());
        old.map_or(0, |(_, stat)| stat.allocated())
    }

    /// Returns the rights that the published file gets: those of the old file, or those of a new file that is created
    /// here with `mode`.
    fn rights(&self, mode: u32) -> io::Result<Rights<'_>> {
        if let Some((old, stat)) = &self.old {
            return Ok(Rights::Kept(old.as_fd(), stat.mode()));
        }
        let inheritance = Inheritance::of(self.entry.parent.as_fd())?;
        let mode = if inheritance.has_acl() { mode } else { mode & !umask()? };
        Ok(Rights::Inherited(inheritance, mode))
    }
}

/// Owner, mode, ACL and attributes of a file that is published.
enum Rights<'t> {
    /// The rights of the old file, which has this mode.
    Kept(BorrowedFd<'t>, u32),
    /// The rights of a new file that is created with this mode.
    Inherited(Inheritance, u32),
}

impl Rights<'_> {
    /// Returns the mode, as far as it is known. A directory's default ACL may remove all of its bits.
    fn mode(&self) -> u32 {
        match self {
            Rights::Inherited(inheritance, _) if inheritance.has_acl() => 0,
            Rights::Kept(_, mode) | Rights::Inherited(_, mode) => *mode,
        }
    }

    /// Applies the rights to a complete file, on which only its owner has rights so far.
    fn give(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        match self {
            Rights::Kept(old, _) => keep_rights(*old, file),
            Rights::Inherited(inheritance, mode) => inheritance.give(file, *mode),
        }
    }
}

/// A file in the staging directory. Its lock shows that it is not the leftover of a dead process.
#[derive(Debug)]
pub(super) struct TempFile {
    name: String,
    file: File,
    /// The mode that a new file gets when it is published.
    mode: u32,
    _lock: FileLock,
}

impl TempFile {
    /// Creates an empty file, to be published in the directory of `target`. The published file has the rights of the
    /// replaced file, or those of a file created there with `mode`. Until then only its owner has rights on it.
    pub fn create(staging: &StoreDir, target: &PublishTarget, mode: u32) -> Result<Self> {
        let (name, lock) = create_temp_file(staging, target.entry.parent.as_fd())?;
        match lock.file().try_clone_to_owned() {
            Ok(file) => Ok(TempFile { name, file: file.into(), mode, _lock: lock }),
            Err(error) => {
                staging.unlink(&name)?;
                Err(Error::file_system("dup", staging.path(), error))
            }
        }
    }

    /// Returns the file, open for writing.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Deletes the file.
    pub fn discard(&self, staging: &StoreDir) -> Result<()> {
        staging.unlink(&self.name)
    }
}

impl VolumeRoot {
    /// Resolves the entry that a file written to `path` replaces. Refuses to replace anything but a regular file.
    pub(super) fn publish_target(&self, path: &VolumePath) -> Result<PublishTarget> {
        let entry = self.resolve_entry(path)?;
        let old = match open_o_path(entry.parent.as_fd(), &entry.name) {
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(self.io_error("stat", path, error)),
            Ok((fd, stat)) => match stat.kind() {
                EntryKind::File => Some((fd, stat)),
                // TOCTOU: a guest put the link there after the path was resolved. The rename replaces it.
                EntryKind::Link => None,
                EntryKind::Directory => return Err(self.io_error("open", path, Errno::EISDIR.into())),
                EntryKind::Special => {
                    return Err(not_a_regular_file("open", path).in_volume(self.volume.as_str()));
                }
            },
        };
        Ok(PublishTarget { entry, old })
    }

    /// Syncs a complete file, and renames it over the old one, whose rights and attributes it gets. The rename is the
    /// commit point.
    pub(super) fn publish(
        &self,
        path: &VolumePath,
        temp_file: &TempFile,
        target: &PublishTarget,
        WriteContext { staging, cancel, .. }: &WriteContext<'_>,
    ) -> Result<()> {
        let io_error = |error| self.io_error("write", path, error);
        let rights = target.rights(temp_file.mode).map_err(io_error)?;
        let _published = FileLock::publish(staging, rights.mode())
            .map_err(|error| self.map_error(error, path.as_str()))?;
        let given = rights.give(temp_file.file.as_fd());
        given.and_then(|()| temp_file.file.sync_all()).map_err(io_error)?;
        cancel.commit()?;
        let file = (temp_file.name.as_str(), temp_file.file.as_fd());
        let (root, parent) = (self.root.as_fd(), target.entry.parent.as_fd());
        let put = staging.replace(file, root, parent, &target.entry.name, &|file| rights.give(file));
        put.map_err(|error| self.map_error(error, path.as_str()))
    }
}
