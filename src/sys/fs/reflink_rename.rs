//! Putting a file in place in another subvolume, into which nothing can be renamed.

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

/// Stands between the two parts of a record's name; no token holds it.
const SEPARATOR: char = '.';

/// A clone on its way: it has a name of its own for a moment, beneath a volume's root or, where that is another subvolume
/// or mount, beside its place. The original, whose content it shares, is called by what tells the two from before that
/// until after it, on disk as well: so that whoever dies meanwhile leaves a record of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReflinkRename {
    token: String,
    inode: u64,
}

impl ReflinkRename {
    /// Tells by an original's name; none where no clone of it was under way.
    pub fn of_record(name: &str) -> Option<Self> {
        let (token, inode) = name.split_once(SEPARATOR)?;
        let inode = u64::from_str_radix(inode, 16).ok()?;
        Some(ReflinkRename { token: token.to_owned(), inode })
    }

    /// The name that the original has apart from this.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Removes the name that the clone had for a moment, if it stands in this volume's root. Should its guest put
    /// something else there between the two calls, the guest loses that.
    pub fn remove_from(&self, root: &Dir) -> Result<()> {
        let name = self.passing_name();
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

    fn passing_name(&self) -> String {
        format!(".{}", self.token)
    }

    fn record_name(&self) -> String {
        format!("{}{SEPARATOR}{:x}", self.token, self.inode)
    }
}

/// Puts a clone of the open file `name` of `source`, which shares its blocks, in place of `new_name` in `target`, a
/// directory below `root`, and unlinks the original. `give_rights` gives the clone its rights, of which it has only its
/// owner's, and the group that `target` gave it. Where it fails, the original is gone or has its name.
pub(crate) fn replace_by_clone(
    source: BorrowedFd<'_>,
    (name, original): (&str, BorrowedFd<'_>),
    root: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    new_name: &OsStr,
    give_rights: &dyn Fn(BorrowedFd<'_>) -> io::Result<()>,
) -> nix::Result<()> {
    let original = File::from(original.try_clone_to_owned().map_err(|_| Errno::EMFILE)?);
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let clone = match openat(target, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR) {
        Ok(fd) => File::from(fd),
        // A file system that knows no file without a name.
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
    let passing = ReflinkRename { token: name.to_owned(), inode: found.st_ino };
    // The root is found again whatever the guest moves, but not every directory is of its subvolume.
    let mut holder = if fstat(root)?.st_dev == found.st_dev { root } else { target };
    let (record, passing_name) = (passing.record_name(), passing.passing_name());
    renameat(source, name, source, record.as_str())?;
    let descriptor = format!("/proc/self/fd/{}", clone.as_raw_fd());
    let link_in = |holder| {
        let follow = AtFlags::AT_SYMLINK_FOLLOW;
        linkat(AT_FDCWD, descriptor.as_str(), holder, passing_name.as_str(), follow)
    };
    // A guest can have the clone's name put on disk, and not the record's.
    let linked = fsync(source).and_then(|()| match link_in(holder) {
        // The root is of another mount.
        Err(Errno::EXDEV) => {
            holder = target;
            link_in(holder)
        }
        linked => linked,
    });
    let replaced = linked.and_then(|()| renameat(holder, passing_name.as_str(), target, new_name));
    if replaced.is_err() && passing.is_at(holder, &passing_name)? {
        unlinkat(holder, passing_name.as_str(), UnlinkatFlags::NoRemoveDir)?;
    }
    // One that cannot be deleted now is a leftover, which the next to open the home deletes.
    let _left = unlinkat(source, record.as_str(), UnlinkatFlags::NoRemoveDir);
    replaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_of_its_clone_and_nothing_else_does() {
        let passing = ReflinkRename { token: "1-2-3".to_owned(), inode: 0x101 };
        assert_eq!(passing.record_name(), "1-2-3.101");
        assert_eq!(ReflinkRename::of_record("1-2-3.101"), Some(passing));
        for name in ["1-2-3", "v~1-2-3", "1-2-3.", "1-2-3.x", "1-2-3.1.2"] {
            assert_eq!(ReflinkRename::of_record(name), None, "{name}");
        }
    }
}
