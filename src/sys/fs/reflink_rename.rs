//! Publishes a file in another subvolume, into which `rename(2)` fails with `EXDEV`.

use super::copy_range::clone_content;
use super::dir::Dir;
use crate::error::{Error, Result};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, fsync, linkat, unlinkat};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Separates the two parts of a record's name. No token contains it.
const SEPARATOR: char = '.';

/// A clone that is being renamed into place.
///
/// The clone has a temporary name in the volume's root, or in the target directory if the root is another subvolume or
/// mount. While it has that name, the name of the original file, which shares its content, is a record of the clone.
///
/// Crash safety: the record is on disk before the temporary name exists, and is deleted after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReflinkRename {
    token: String,
    inode: u64,
}

impl ReflinkRename {
    /// Parses the name of an original file. Returns `None` if it is not a record of a clone.
    pub fn of_record(name: &str) -> Option<Self> {
        let (token, inode) = name.split_once(SEPARATOR)?;
        let inode = u64::from_str_radix(inode, 16).ok()?;
        Some(ReflinkRename { token: token.to_owned(), inode })
    }

    /// Returns the name of the original without the record.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Removes the clone's temporary name from the volume's root, if it is there.
    ///
    /// TOCTOU: a guest that puts another file there between the two calls loses that file.
    pub fn remove_from(&self, root: &Dir) -> Result<()> {
        let name = self.temporary_name();
        match self.is_at(root.as_fd(), &name) {
            Ok(true) => root.unlink(&name),
            Ok(false) => Ok(()),
            Err(errno) => Err(Error::file_system("stat", root.path_of(&name), errno.into())),
        }
    }

    fn is_at(&self, root: BorrowedFd<'_>, name: &str) -> nix::Result<bool> {
        match fstatat(root, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(found.st_ino == self.inode),
            Err(Errno::ENOENT) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    fn temporary_name(&self) -> String {
        format!(".{}", self.token)
    }

    fn record_name(&self) -> String {
        format!("{}{SEPARATOR}{:x}", self.token, self.inode)
    }
}

/// A request to replace an entry with a temp file.
pub(super) struct PublishRequest<'a> {
    /// Directory of the temp file.
    pub source: BorrowedFd<'a>,
    /// Name of the temp file, a unique token.
    pub name: &'a str,
    /// The open temp file.
    pub file: BorrowedFd<'a>,
    /// A directory that contains `target`, for the clone's temporary name.
    pub root: BorrowedFd<'a>,
    /// Directory of the entry.
    pub target: BorrowedFd<'a>,
    /// Name of the entry.
    pub new_name: &'a OsStr,
    /// Sets the rights of a clone, which has mode 0600 and the group that `target` gave it.
    pub give_rights: &'a dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
}

impl PublishRequest<'_> {
    /// Renames the temp file over the entry.
    pub fn by_rename(&self) -> nix::Result<()> {
        renameat(self.source, self.name, self.target, self.new_name)
    }

    /// Replaces the entry with a clone of the temp file. The clone shares the blocks of the original, which is
    /// unlinked. If the call fails, the original is gone or still has its name.
    pub fn by_clone(&self) -> nix::Result<()> {
        let &PublishRequest { source, name, file, root, target, new_name, give_rights } = self;
        let original = File::from(file.try_clone_to_owned().map_err(|_| Errno::EMFILE)?);
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
        let clone = match openat(target, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR) {
            Ok(fd) => File::from(fd),
            // The file system has no O_TMPFILE.
            Err(Errno::EOPNOTSUPP | Errno::EISDIR) => return Err(Errno::EXDEV),
            Err(errno) => return Err(errno),
        };
        let io_errno = |error: io::Error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw);
        match clone_content(&original, &clone) {
            Ok(true) => give_rights(clone.as_fd()).map_err(io_errno)?,
            Ok(false) => return Err(Errno::EXDEV),
            Err(error) => return Err(io_errno(error)),
        }
        fsync(&clone)?;

        let found = fstat(&clone)?;
        let clone_rename = ReflinkRename { token: name.to_owned(), inode: found.st_ino };
        // The root is preferred: after a crash it can be found, wherever the guest moves directories. It must be in the
        // same subvolume.
        let mut parent = if fstat(root)?.st_dev == found.st_dev { root } else { target };
        let (record, temporary_name) = (clone_rename.record_name(), clone_rename.temporary_name());
        renameat(source, name, source, record.as_str())?;
        let descriptor = format!("/proc/self/fd/{}", clone.as_raw_fd());
        let link_in = |parent| {
            let follow = AtFlags::AT_SYMLINK_FOLLOW;
            linkat(AT_FDCWD, descriptor.as_str(), parent, temporary_name.as_str(), follow)
        };
        // Crash safety: a guest's fsync may flush the clone's name, so the record's is flushed first.
        let linked = fsync(source).and_then(|()| match link_in(parent) {
            // The root is in another mount.
            Err(Errno::EXDEV) => {
                parent = target;
                link_in(parent)
            }
            linked => linked,
        });
        let replaced = linked.and_then(|()| renameat(parent, temporary_name.as_str(), target, new_name));
        if replaced.is_err() && clone_rename.is_at(parent, &temporary_name)? {
            unlinkat(parent, temporary_name.as_str(), UnlinkatFlags::NoRemoveDir)?;
        }
        // A record that cannot be deleted now is a leftover: the next process that opens the home deletes it.
        let _left = unlinkat(source, record.as_str(), UnlinkatFlags::NoRemoveDir);
        replaced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_name_of_a_record_is_parsed() {
        let clone_rename = ReflinkRename { token: "1-2-3".to_owned(), inode: 0x101 };
        assert_eq!(clone_rename.record_name(), "1-2-3.101");
        assert_eq!(ReflinkRename::of_record("1-2-3.101"), Some(clone_rename));
        for name in ["1-2-3", "v~1-2-3", "1-2-3.", "1-2-3.x", "1-2-3.1.2"] {
            assert_eq!(ReflinkRename::of_record(name), None, "{name}");
        }
    }
}
