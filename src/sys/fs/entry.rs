//! Entries of an open directory. Each is named by one component, and links are not followed.

use super::dir::FileId;
use super::free_space::STAT_BLOCK;
use super::open_flags::{PATH_ONLY_DIRECTORY, PATH_ONLY_NOFOLLOW, READ_DIRECTORY};
use nix::dir::{Entry, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat, renameat};
use nix::sys::stat::{FileStat as RawStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, getegid, geteuid, symlinkat, unlinkat};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

/// The file type of an entry.
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
    /// Returns the file type of an `st_mode`.
    pub(crate) fn of_mode(mode: u32) -> Self {
        match SFlag::from_bits_truncate(mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => EntryKind::File,
            SFlag::S_IFDIR => EntryKind::Directory,
            SFlag::S_IFLNK => EntryKind::Link,
            _ => EntryKind::Special,
        }
    }
}

/// The result of `fstat(2)` or `fstatat(2)`.
#[derive(Clone, Copy, Debug)]
pub struct FileStat(RawStat);

impl FileStat {
    /// Returns the status of an open file, or of one that an `O_PATH` descriptor names.
    pub fn of(file: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(FileStat(fstat(file)?))
    }

    /// Returns the file type.
    pub fn kind(&self) -> EntryKind {
        EntryKind::of_mode(self.0.st_mode)
    }

    /// Returns file type and permission bits, as in `st_mode`.
    pub fn type_and_mode(&self) -> u32 {
        self.0.st_mode
    }

    /// Returns when the content last changed, or `None` if the file system returns an invalid time.
    pub fn modified(&self) -> Option<SystemTime> {
        system_time(self.0.st_mtime, self.0.st_mtime_nsec)
    }

    /// Returns device and inode.
    pub fn id(&self) -> FileId {
        FileId::of(&self.0)
    }

    /// Returns permissions, set-id bits and sticky bit.
    pub fn mode(&self) -> u32 {
        self.0.st_mode & 0o7777
    }

    /// Returns the length in bytes.
    pub fn length(&self) -> u64 {
        self.0.st_size.max(0).unsigned_abs()
    }

    /// Returns the bytes that are allocated on the host.
    pub fn allocated(&self) -> u64 {
        self.0.st_blocks.max(0).unsigned_abs() * STAT_BLOCK
    }

    /// Reports whether the link count is more than 1.
    pub fn has_other_names(&self) -> bool {
        self.0.st_nlink > 1
    }

    /// Returns user and group.
    pub fn owner(&self) -> (u32, u32) {
        (self.0.st_uid, self.0.st_gid)
    }
}

/// Converts a time of `stat(2)`. A guest's own file system may return any number.
fn system_time(seconds: i64, nanoseconds: i64) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(whole),
        false => SystemTime::UNIX_EPOCH.checked_add(whole),
    };
    let nanoseconds = u32::try_from(nanoseconds).ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
    second?.checked_add(Duration::new(0, nanoseconds))
}

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

/// Returns the status of the entry `name`. Does not follow a link.
pub fn stat_at(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<FileStat> {
    Ok(FileStat(fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?))
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
    fn a_time_is_converted_if_it_is_valid() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(system_time(1, 5), Some(epoch + Duration::new(1, 5)));
        assert_eq!(system_time(-1, 5), Some(epoch - Duration::from_secs(1) + Duration::from_nanos(5)));
        assert_eq!(system_time(0, 1_000_000_000), None);
        assert_eq!(system_time(0, -1), None);
        assert!(system_time(i64::MAX, 999_999_999).is_some());
        assert!(system_time(i64::MIN, 0).is_some());
    }

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
