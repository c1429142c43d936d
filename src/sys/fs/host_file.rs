//! Regular files that the host's user names, found without touching what is none.

use super::dir::FileId;
use super::reopen::{Access, reopen};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, readlink};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// A descriptor that names what it was opened for, and can do no I/O.
const LOOKING: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

/// What stands at a path.
#[derive(Debug)]
pub enum Found<F> {
    /// A regular file.
    Regular(F),
    /// Something else, in words. It was looked at only: no FIFO's other end and no driver noticed.
    Other(&'static str),
}

/// A regular file that is open for reading, and the directory that holds it.
#[derive(Debug)]
pub struct HostFile {
    /// The file.
    pub file: OwnedFd,
    /// Its directory, for finding what stands beside it.
    pub directory: OwnedFd,
    /// Where the file is, free of links.
    pub path: PathBuf,
}

/// Opens the regular file at a path that the host's user chose, links followed, unless `refuse` does not want it, which
/// is told where it is and which one before it is opened: to close a file again has effects of its own. The file and
/// the directory are the ones that belong together, whatever is renamed meanwhile.
pub fn open_host_file<E: From<io::Error>>(
    path: &Path,
    refuse: impl FnOnce(&Path, FileId) -> Result<(), E>,
) -> Result<Found<HostFile>, E> {
    let system = |errno: Errno| io::Error::from(errno);
    let found = openat(AT_FDCWD, path, LOOKING, Mode::empty()).map_err(system)?;
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
    let directory = openat(AT_FDCWD, parent, LOOKING | OFlag::O_DIRECTORY, Mode::empty()).map_err(system)?;
    let beside = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(system)?;
    if FileId::of(&beside) != FileId::of_open(file.as_fd())? {
        // Moved away, and another put in its place, since it was opened.
        return Err(system(Errno::ENOENT).into());
    }
    Ok(Found::Regular(HostFile { file, directory, path: real }))
}

/// Opens the regular file `name` of a directory for reading. A link in its place is not followed.
pub fn open_beside(directory: BorrowedFd<'_>, name: &str) -> io::Result<Found<OwnedFd>> {
    regular(openat(directory, name, LOOKING | OFlag::O_NOFOLLOW, Mode::empty())?.as_fd())
}

/// Opens what was found for reading, if that is a regular file.
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
