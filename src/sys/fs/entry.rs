//! Entries of an open directory. Each is named by one component, and links are not followed.

use super::dir::FileId;
use super::file_stat::{EntryKind, FileStat};
use super::open_flags::{PATH_ONLY_DIRECTORY, PATH_ONLY_NOFOLLOW, READ_DIRECTORY};
use nix::dir::{Entry, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, getegid, geteuid, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// Opens the entry `name`, of any type, as an `O_PATH` descriptor, and returns its status. Does not follow a link.
pub fn open_o_path(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<(OwnedFd, FileStat)> {
    let found = openat(dir, name, PATH_ONLY_NOFOLLOW, Mode::empty())?;
    let stat = FileStat::of(found.as_fd())?;
    Ok((found, stat))
}

/// Opens the entry `name` for reading. Returns `None` if it is not a regular file, or if the system refuses;
/// [`open_o_path`] then finds the cause.
///
/// The call does not block, but the other end of a FIFO may notice it. Use it only for entries that `d_type` says
/// are regular files, in trees that no guest changes.
pub fn open_if_regular(dir: BorrowedFd<'_>, name: &OsStr) -> Option<(File, FileStat)> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = openat(dir, name, flags, Mode::empty()).ok()?;
    let stat = FileStat::of(opened.as_fd()).ok()?;
    (stat.kind() == EntryKind::File).then(|| (File::from(opened), stat))
}

/// Returns the target of a link that [`open_o_path`] opened.
pub fn link_target(link: BorrowedFd<'_>) -> io::Result<OsString> {
    Ok(readlinkat(link, "")?)
}

/// Creates a file that must not exist, with `mode` less the umask.
pub fn create_file(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(dir, name, flags, Mode::from_bits_truncate(mode))?))
}

/// Creates a directory that must not exist, with `mode` less the umask and all rights for its owner.
pub fn create_directory(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    Ok(mkdirat(dir, name, Mode::from_bits_truncate(mode) | Mode::S_IRWXU)?)
}

/// Creates a link that must not exist.
pub fn create_link(dir: BorrowedFd<'_>, name: &OsStr, target: &OsStr) -> io::Result<()> {
    Ok(symlinkat(target, dir, name)?)
}

/// Gives a link the owner in `stat`. Does nothing if this process may not.
pub fn chown_link(dir: BorrowedFd<'_>, name: &OsStr, stat: &FileStat) -> io::Result<()> {
    let (user, group) = stat.owner();
    let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    match fchownat(dir, name, user, group, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Returns this process's effective user and group, which own the files that it creates.
pub fn effective_ids() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Unlinks an entry that is not a directory. Succeeds if it is already gone.
pub fn unlink_entry(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Removes an empty directory.
pub fn remove_directory(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<()> {
    Ok(unlinkat(dir, name, UnlinkatFlags::RemoveDir)?)
}

/// Renames an entry, and replaces the entry that has the new name.
pub fn rename_entry(
    dir: BorrowedFd<'_>,
    name: &OsStr,
    new_dir: BorrowedFd<'_>,
    new_name: &OsStr,
) -> io::Result<()> {
    Ok(renameat(dir, name, new_dir, new_name)?)
}

/// Iterates over the entries of a directory except `.` and `..`.
#[derive(Debug)]
pub struct EntryReader(OwningIter);

impl EntryReader {
    /// Opens a new iterator at the first entry.
    pub fn of(dir: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(EntryReader(nix::dir::Dir::openat(dir, ".", READ_DIRECTORY, Mode::empty())?.into_iter()))
    }

    /// Stores the next name and a NUL in `name`. Returns `false` if there is no next name.
    pub fn next_name_into(&mut self, name: &mut Vec<u8>) -> io::Result<bool> {
        name.clear();
        let Some(entry) = self.next_entry()? else { return Ok(false) };
        name.extend_from_slice(entry.file_name().to_bytes_with_nul());
        Ok(true)
    }

    fn next_entry(&mut self) -> nix::Result<Option<Entry>> {
        loop {
            match self.0.next().transpose()? {
                Some(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => {}
                found => return Ok(found),
            }
        }
    }
}

impl Iterator for EntryReader {
    /// A name, and the file type if the file system reports it in `d_type`.
    type Item = io::Result<(OsString, Option<EntryKind>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let entry = self.next_entry().map_err(io::Error::from).transpose()?;
        Some(entry.map(|entry| {
            let kind = entry.file_type().map(|kind| match kind {
                Type::File => EntryKind::File,
                Type::Directory => EntryKind::Directory,
                Type::Symlink => EntryKind::Link,
                _ => EntryKind::Special,
            });
            (OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(), kind)
        }))
    }
}

/// Reports whether a directory is `top` or below it.
pub fn is_within(dir: BorrowedFd<'_>, top: FileId) -> io::Result<bool> {
    let mut here = dir.try_clone_to_owned()?;
    let mut id = FileId::of_open(here.as_fd())?;
    loop {
        if id == top {
            return Ok(true);
        }
        here = openat(here.as_fd(), "..", PATH_ONLY_DIRECTORY, Mode::empty())?;
        let parent = FileId::of_open(here.as_fd())?;
        if parent == id {
            return Ok(false);
        }
        id = parent;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes what it opens")]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_no_call_blocks() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        std::fs::write(path("file"), "content").unwrap();
        std::fs::create_dir(path("dir")).unwrap();
        std::os::unix::fs::symlink("file", path("link")).unwrap();
        nix::unistd::mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).unwrap();
        let dir = File::open(home.path()).unwrap();
        let open = |name: &str| open_if_regular(dir.as_fd(), OsStr::new(name));
        assert_eq!(open("file").unwrap().1.length(), 7);
        for name in ["dir", "link", "fifo", "socket", "missing"] {
            assert!(open(name).is_none(), "{name}");
        }
    }
}
