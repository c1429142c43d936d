//! What a path of the host's own names: followed wherever it leads, for the host's user chose it.

use super::entries::Facts;
use super::reopen::{Access, reopen};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlink};
use nix::sys::stat::Mode;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Something that stands at a host path, by a descriptor that can do no I/O.
#[derive(Debug)]
pub struct HostEntry {
    /// It.
    pub fd: OwnedFd,
    /// What it is.
    pub facts: Facts,
    /// Where it is, free of links.
    pub real: PathBuf,
}

/// Finds what stands at a host path.
pub fn open_host_entry(path: &Path) -> io::Result<HostEntry> {
    let fd = openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(HostEntry { facts: Facts::of(fd.as_fd())?, real: real_path(fd.as_fd())?, fd })
}

/// Finds what stands at an absolute path on which there is no link: one is `ELOOP`.
pub fn open_without_links(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    Ok(openat2(AT_FDCWD, path, how)?)
}

/// Finds the directory that holds a host path, and its last component's name. One without such a name, which ends in
/// `..` or is `/`, is `EISDIR`.
pub fn open_host_holder(path: &Path) -> io::Result<(HostEntry, OsString)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EISDIR.into());
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = openat(AT_FDCWD, parent, flags, Mode::empty())?;
    let holder = HostEntry { facts: Facts::of(fd.as_fd())?, real: real_path(fd.as_fd())?, fd };
    Ok((holder, name.to_owned()))
}

/// A descriptor for listing the very directory that `found`, which can do no I/O, stands for.
pub fn readable_directory(found: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    reopen(found, Access::Read)
}

fn real_path(found: BorrowedFd<'_>) -> io::Result<PathBuf> {
    Ok(readlink(format!("/proc/self/fd/{}", found.as_raw_fd()).as_str())?.into())
}
