//! Entries at paths that the host's user chose. Links in them are followed.

use super::file_stat::{EntryKind, FileStat};
use super::open_flags::{PATH_ONLY, PATH_ONLY_DIRECTORY, PATH_ONLY_NOFOLLOW};
use super::reopen::{Access, reopen};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OpenHow, ResolveFlag, openat, openat2, readlink};
use nix::sys::stat::Mode;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// An entry at a host path.
#[derive(Debug)]
pub struct HostEntry {
    /// An `O_PATH` descriptor of the entry.
    pub fd: OwnedFd,
    /// The entry's status.
    pub stat: FileStat,
    /// The entry's path, without links.
    pub real: PathBuf,
}

/// Opens the entry at a host path. Follows links.
pub fn open_host_entry(path: &Path) -> io::Result<HostEntry> {
    let fd = openat(AT_FDCWD, path, PATH_ONLY, Mode::empty())?;
    Ok(HostEntry { stat: FileStat::of(fd.as_fd())?, real: real_path(fd.as_fd())?, fd })
}

/// Opens the entry at an absolute path as an `O_PATH` descriptor. Fails with `ELOOP` if the path contains a link.
pub fn open_without_links(path: &Path) -> io::Result<OwnedFd> {
    let how = OpenHow::new().flags(PATH_ONLY_NOFOLLOW).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(AT_FDCWD, path, how) {
        Err(Errno::ENOSYS | Errno::EPERM) => open_and_compare_path(path),
        opened => Ok(opened?),
    }
}

/// Does what [`open_without_links`] does, without `openat2`: the path of the opened entry must be `path`.
fn open_and_compare_path(path: &Path) -> io::Result<OwnedFd> {
    let found = openat(AT_FDCWD, path, PATH_ONLY_NOFOLLOW, Mode::empty())?;
    let is_there = real_path(found.as_fd())? == path;
    let is_link = FileStat::of(found.as_fd())?.kind() == EntryKind::Link;
    match is_there && !is_link {
        true => Ok(found),
        false => Err(Errno::ELOOP.into()),
    }
}

/// Opens the parent directory of a host path, and returns the path's last component. Fails with `EISDIR` if the path
/// has no last component: if it ends in `..` or is `/`.
pub fn open_host_parent(path: &Path) -> io::Result<(HostEntry, OsString)> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Errno::EISDIR.into());
    };
    let fd = openat(AT_FDCWD, parent, PATH_ONLY_DIRECTORY, Mode::empty())?;
    let parent = HostEntry { stat: FileStat::of(fd.as_fd())?, real: real_path(fd.as_fd())?, fd };
    Ok((parent, name.to_owned()))
}

/// Opens the directory that the `O_PATH` descriptor `found` names, for listing.
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
    fn both_ways_open_the_entry_at_a_path_and_refuse_a_link_on_it() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("a/b")).unwrap();
        symlink("a", home.join("link")).unwrap();
        let fifo = home.join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for open in [open_without_links, open_and_compare_path] {
            open(&home.join("a/b")).unwrap();
            open(&fifo).unwrap();
            let errno = open(&home.join("link/b")).unwrap_err().raw_os_error();
            assert_eq!(errno, Some(Errno::ELOOP as i32));
            let found = open(&home.join("link")).map(|fd| FileStat::of(fd.as_fd()).unwrap().kind());
            assert!(found.is_err() || found.is_ok_and(|kind| kind == EntryKind::Link));
        }
    }
}
