//! Opening directories below a guest-owned one without following a link or entering another mount.

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstat};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

const OPEN_DIR: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// How often a lookup that a rename elsewhere disturbed is tried again.
const RETRIES: usize = 16;

/// Opens the directory at `path` below `parent`. A symbolic link anywhere in `path` is `ELOOP` or `ENOTDIR`, a
/// mount that is not `parent`'s is `EXDEV`.
pub fn open_subdirectory(parent: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(OPEN_DIR).resolve(resolve);
    for _ in 0..RETRIES {
        match openat2(parent, path, how) {
            Err(Errno::EAGAIN) => continue,
            Err(Errno::ENOSYS | Errno::EPERM) => return open_step_by_step(parent, path),
            opened => return Ok(opened?),
        }
    }
    Err(Errno::EBUSY.into())
}

/// The same without `openat2`: one component at a time, each of them no link and on the same device.
fn open_step_by_step(parent: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let device = fstat(parent)?.st_dev;
    let mut dir = parent.try_clone_to_owned()?;
    for component in path.components() {
        let std::path::Component::Normal(name) = component else { return Err(Errno::EXDEV.into()) };
        dir = openat(dir.as_fd(), name, OPEN_DIR, Mode::empty())?;
        if fstat(&dir)?.st_dev != device {
            return Err(Errno::EXDEV.into());
        }
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn both_ways_open_a_directory_and_refuse_a_link_in_its_place() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("a/b")).unwrap();
        symlink(home.path().join("a"), home.path().join("link")).unwrap();
        let root = std::fs::File::open(home.path()).unwrap();
        for open in [open_subdirectory, open_step_by_step] {
            open(root.as_fd(), Path::new("a/b")).unwrap();
            for path in ["link", "link/b"] {
                let errno = open(root.as_fd(), Path::new(path)).unwrap_err().raw_os_error().unwrap();
                assert!([Errno::ELOOP as i32, Errno::ENOTDIR as i32].contains(&errno), "{path}: {errno}");
            }
            let errno = open(root.as_fd(), Path::new("..")).unwrap_err().raw_os_error();
            assert_eq!(errno, Some(Errno::EXDEV as i32));
        }
    }
}
