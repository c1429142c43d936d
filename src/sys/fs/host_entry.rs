//! What a path of the host's own names: followed wherever it leads, for the host's user chose it.

use super::entry::{EntryKind, FileStat};
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
    pub facts: FileStat,
    /// Where it is, free of links.
    pub real: PathBuf,
}

/// Finds what stands at a host path.
pub fn open_host_entry(path: &Path) -> io::Result<HostEntry> {
    let fd = openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    Ok(HostEntry { facts: FileStat::of(fd.as_fd())?, real: real_path(fd.as_fd())?, fd })
}

/// Finds what stands at an absolute path on which there is no link: one is `ELOOP`.
pub fn open_without_links(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        Err(Errno::ENOSYS | Errno::EPERM) => open_where_it_says(path),
        opened => Ok(opened?),
    }
}

/// [`open_without_links`] without `openat2`: what was opened has to be where the path says.
fn open_where_it_says(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let found = openat(AT_FDCWD, path, flags, Mode::empty())?;
    let is_there = real_path(found.as_fd())? == path;
    let is_link = FileStat::of(found.as_fd())?.kind() == EntryKind::Link;
    match is_there && !is_link {
        true => Ok(found),
        false => Err(Errno::ELOOP.into()),
    }
}

/// Finds the directory that holds a host path, and its last component's name. One without such a name, which ends in
/// `..` or is `/`, is `EISDIR`.
pub fn open_host_holder(path: &Path) -> io::Result<(HostEntry, OsString)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EISDIR.into());
    };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let fd = openat(AT_FDCWD, parent, flags, Mode::empty())?;
    let holder = HostEntry { facts: FileStat::of(fd.as_fd())?, real: real_path(fd.as_fd())?, fd };
    Ok((holder, name.to_owned()))
}

/// A descriptor for listing the very directory that `found`, which can do no I/O, stands for.
pub fn readable_directory(found: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    reopen(found, Access::Read)
}

fn real_path(found: BorrowedFd<'_>) -> io::Result<PathBuf> {
    Ok(readlink(format!("/proc/self/fd/{}", found.as_raw_fd()).as_str())?.into())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes entries of its own")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_open_what_stands_at_a_path_and_refuse_a_link_on_it() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("a/b")).unwrap();
        symlink("a", home.join("link")).unwrap();
        let fifo = home.join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for open in [open_without_links, open_where_it_says] {
            open(&home.join("a/b")).unwrap();
            open(&fifo).unwrap();
            let errno = open(&home.join("link/b")).unwrap_err().raw_os_error();
            assert_eq!(errno, Some(Errno::ELOOP as i32));
            let found = open(&home.join("link")).map(|fd| FileStat::of(fd.as_fd()).unwrap().kind());
            assert!(found.is_err() || found.is_ok_and(|kind| kind == EntryKind::Link));
        }
    }
}
