//! Regular files at paths that the host's user chose. A file of another type is not opened for I/O.

use super::dir::FileId;
use super::open_flags::{PATH_ONLY, PATH_ONLY_DIRECTORY, PATH_ONLY_NOFOLLOW};
use super::reopen::{Access, reopen};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, openat, readlink};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The entry at a path.
#[derive(Debug)]
pub enum Found<F> {
    /// A regular file.
    Regular(F),
    /// The file type in words, if it is another one. It was not opened for I/O, so the other end of a FIFO or a driver
    /// noticed nothing.
    Other(&'static str),
}

/// A regular file that is open for reading, and its directory.
#[derive(Debug)]
pub struct HostFile {
    /// The file.
    pub file: OwnedFd,
    /// The file's directory, for opening other files in it.
    pub directory: OwnedFd,
    /// The file's path, without links.
    pub path: PathBuf,
}

/// Opens the regular file at a path that the host's user chose. Follows links.
///
/// `refuse` gets the file's path and identity before the file is opened, and may fail: to open and close a file has
/// side effects.
///
/// TOCTOU: a concurrent rename cannot mix two files. The call fails with `ENOENT` if `file` is not in `directory`.
pub fn open_host_file<E: From<io::Error>>(
    path: &Path,
    refuse: impl FnOnce(&Path, FileId) -> Result<(), E>,
) -> Result<Found<HostFile>, E> {
    let system = |errno: Errno| io::Error::from(errno);
    let found = openat(AT_FDCWD, path, PATH_ONLY, Mode::empty()).map_err(system)?;
    let real =
        PathBuf::from(readlink(format!("/proc/self/fd/{}", found.as_raw_fd()).as_str()).map_err(system)?);
    refuse(&real, FileId::of_open(found.as_fd())?)?;
    let file = match regular(found.as_fd())? {
        Found::Regular(file) => file,
        Found::Other(kind) => return Ok(Found::Other(kind)),
    };
    let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
        return Err(system(Errno::ENOENT).into());
    };
    let directory = openat(AT_FDCWD, parent, PATH_ONLY_DIRECTORY, Mode::empty()).map_err(system)?;
    let beside = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(system)?;
    if FileId::of(&beside) != FileId::of_open(file.as_fd())? {
        // The file was replaced after it was opened.
        return Err(system(Errno::ENOENT).into());
    }
    Ok(Found::Regular(HostFile { file, directory, path: real }))
}

/// Opens the regular file `name` of a directory for reading. Does not follow a link.
pub fn open_beside(directory: BorrowedFd<'_>, name: &str) -> io::Result<Found<OwnedFd>> {
    regular(openat(directory, name, PATH_ONLY_NOFOLLOW, Mode::empty())?.as_fd())
}

/// Opens the file that an `O_PATH` descriptor names for reading, if it is a regular file.
fn regular(found: BorrowedFd<'_>) -> io::Result<Found<OwnedFd>> {
    let kind = SFlag::from_bits_truncate(fstat(found)?.st_mode & SFlag::S_IFMT.bits());
    Ok(match kind {
        SFlag::S_IFREG => Found::Regular(reopen(found, Access::Read)?),
        SFlag::S_IFDIR => Found::Other("a directory"),
        SFlag::S_IFLNK => Found::Other("a symbolic link"),
        SFlag::S_IFIFO => Found::Other("a FIFO"),
        SFlag::S_IFSOCK => Found::Other("a socket"),
        _ => Found::Other("a device"),
    })
}
