//! Entries of a directory that is held by descriptor: each is named by one component and never followed.

use super::dir::FileId;
use super::free_space::STAT_BLOCK;
use nix::dir::{OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat as RawStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, getegid, geteuid, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A FIFO, socket or device.
    Special,
}

impl EntryKind {
    /// The kind that an `st_mode` tells.
    pub(crate) fn of_mode(mode: u32) -> Self {
        match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => EntryKind::File,
            SFlag::S_IFDIR => EntryKind::Directory,
            SFlag::S_IFLNK => EntryKind::Link,
            _ => EntryKind::Special,
        }
    }
}

/// What was found about a file, through a descriptor or by name.
#[derive(Clone, Copy, Debug)]
pub struct FileStat(RawStat);

impl FileStat {
    /// What an open file, or one that a descriptor only names, is.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(FileStat(fstat(file)?))
    }

    /// The kind.
    pub fn kind(&self) -> EntryKind {
        EntryKind::of_mode(self.0.st_mode)
    }

    /// The identity.
    pub fn id(&self) -> FileId {
        FileId::of(&self.0)
    }

    /// Permissions, set-id bits and sticky bit.
    pub fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    /// The length in bytes.
    pub fn length(&self) -> u64 {
        self.0.st_size.max(0).unsigned_abs()
    }

    /// The bytes that are allocated on the host.
    pub fn allocated(&self) -> u64 {
        self.0.st_blocks.max(0).unsigned_abs() * STAT_BLOCK
    }

    /// Whether the file has more names than one.
    pub fn has_other_names(&self) -> bool {
        self.0.st_nlink > 1
    }

    /// User and group.
    pub fn owner(&self) -> (u32, u32) {
        (self.0.st_uid, self.0.st_gid)
    }
}

/// A descriptor that can do no I/O of whatever stands at `name`, a link included, and what it is.
pub fn open_o_path(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<(OwnedFd, FileStat)> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = openat(dir, name, flags, Mode::empty())?;
    let facts = FileStat::of(found.as_fd())?;
    Ok((found, facts))
}

/// Opens what stands at `name` for reading if that is a regular file; none where it is not, or is refused: then
/// [`open_o_path`] tells why. Nothing waits, but the other end of a FIFO may notice, so this is for entries that their
/// directory says are regular files, in trees that no guest changes.
pub fn open_if_regular(dir: BorrowedFd<'_>, name: &OsStr) -> Option<(File, FileStat)> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let opened = openat(dir, name, flags, Mode::empty()).ok()?;
    let facts = FileStat::of(opened.as_fd()).ok()?;
    (facts.kind() == EntryKind::File).then(|| (File::from(opened), facts))
}

/// What stands at `name` at this moment.
pub fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<FileStat> {
    Ok(FileStat(fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?))
}

/// Where a link leads that [`open_o_path`] found.
pub fn link_target(link: BorrowedFd<'_>) -> io::Result<OsString> {
    Ok(readlinkat(link, "")?)
}

/// Makes a file that must not exist, with `mode` less the umask.
pub fn create_file(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(openat(dir, name, flags, Mode::from_bits_truncate(mode))?))
}

/// Makes a directory that must not exist, with `mode` less the umask and all rights for its owner.
pub fn create_directory(dir: BorrowedFd<'_>, name: &OsStr, mode: u32) -> io::Result<()> {
    Ok(mkdirat(dir, name, Mode::from_bits_truncate(mode) | Mode::S_IRWXU)?)
}

/// Makes a link that must not exist.
pub fn create_link(dir: BorrowedFd<'_>, name: &OsStr, target: &OsStr) -> io::Result<()> {
    Ok(symlinkat(target, dir, name)?)
}

/// Gives a link the owner in `facts`, as far as this process may give it away.
pub fn give_link(dir: BorrowedFd<'_>, name: &OsStr, facts: &FileStat) -> io::Result<()> {
    let (user, group) = facts.owner();
    let (user, group) = (Some(Uid::from_raw(user)), Some(Gid::from_raw(group)));
    match fchownat(dir, name, user, group, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The user and group that what this process makes belongs to.
pub fn our_ids() -> (u32, u32) {
    (geteuid().as_raw(), getegid().as_raw())
}

/// Removes what is no directory; what is gone already is fine.
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

/// Gives an entry another name in its directory, in place of what has it.
pub fn rename_within(dir: BorrowedFd<'_>, name: &OsStr, new_name: &OsStr) -> io::Result<()> {
    Ok(renameat(dir, name, dir, new_name)?)
}

/// The entries of a directory as they are read, `.` and `..` left out.
#[derive(Debug)]
pub struct EntryReader(OwningIter);

impl EntryReader {
    /// Begins at the first entry.
    pub fn of(dir: BorrowedFd<'_>) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(EntryReader(nix::dir::Dir::openat(dir, ".", flags, Mode::empty())?.into_iter()))
    }
}

impl Iterator for EntryReader {
    /// A name, and its kind where the file system tells it.
    type Item = io::Result<(OsString, Option<EntryKind>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.0.next()? {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(errno.into())),
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let kind = entry.file_type().map(|kind| match kind {
                    Type::File => EntryKind::File,
                    Type::Directory => EntryKind::Directory,
                    Type::Symlink => EntryKind::Link,
                    _ => EntryKind::Special,
                });
                return Some(Ok((OsStr::from_bytes(name).to_owned(), kind)));
            }
        }
    }
}

/// Whether a directory is that of the identity `top`, or below it.
pub fn is_within(dir: BorrowedFd<'_>, top: FileId) -> io::Result<bool> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut here = dir.try_clone_to_owned()?;
    let mut id = FileId::of_open(here.as_fd())?;
    loop {
        if id == top {
            return Ok(true);
        }
        here = openat(here.as_fd(), "..", flags, Mode::empty())?;
        let above = FileId::of_open(here.as_fd())?;
        if above == id {
            return Ok(false);
        }
        id = above;
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes what it opens")]
mod tests {
    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
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
