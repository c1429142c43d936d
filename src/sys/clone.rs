//! Putting a file in place in another subvolume, into which nothing can be renamed.

#![expect(unsafe_code, reason = "the kernel is asked by an ioctl")]

use super::token::unique_token;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fsync, linkat, unlinkat};
use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};

mod ioctl {
    nix::ioctl_write_int!(ficlone, 0x94, 9);
}

/// Puts a clone of the file `name` of `source`, which shares its blocks, with its mode and owner in place of
/// `new_name` in `target`, and unlinks the original. The clone has a name of its own for a moment only.
pub(super) fn replace_by_clone(
    source: BorrowedFd<'_>,
    name: &str,
    target: BorrowedFd<'_>,
    new_name: &OsStr,
) -> nix::Result<()> {
    let original =
        openat(source, name, OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let clone = openat(target, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    // SAFETY: this call takes a descriptor as its argument and touches no memory of ours; both are open.
    unsafe { ioctl::ficlone(clone.as_raw_fd(), original.as_raw_fd() as _) }?;
    let facts = fstat(&original)?;
    match fchown(&clone, Some(Uid::from_raw(facts.st_uid)), Some(Gid::from_raw(facts.st_gid))) {
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(errno),
    }
    fchmod(&clone, Mode::from_bits_truncate(facts.st_mode))?;
    fsync(&clone)?;
    let passing = format!(".{}", unique_token());
    let descriptor = format!("/proc/self/fd/{}", clone.as_raw_fd());
    linkat(AT_FDCWD, descriptor.as_str(), target, passing.as_str(), AtFlags::AT_SYMLINK_FOLLOW)?;
    if let Err(errno) = renameat(target, passing.as_str(), target, new_name) {
        unlinkat(target, passing.as_str(), UnlinkatFlags::NoRemoveDir)?;
        return Err(errno);
    }
    unlinkat(source, name, UnlinkatFlags::NoRemoveDir)
}
