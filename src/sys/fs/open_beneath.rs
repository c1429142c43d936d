//! Opens directories below a guest-owned one, without following a link or entering another mount.

use super::open_flags::READ_DIRECTORY_NOFOLLOW;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// How often `openat2(2)` is called while a concurrent rename makes it fail with `EAGAIN`.
const MAX_ATTEMPTS: usize = 16;

/// Opens the directory at `path` below `parent`. Fails with `ELOOP` or `ENOTDIR` if `path` contains a link, and with
/// `EXDEV` if it enters another mount.
pub fn open_subdirectory(parent: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    open_beneath(parent, path, OFlag::empty())
}

/// Same as [`open_subdirectory`], with additional flags.
pub(crate) fn open_beneath(parent: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let flags = READ_DIRECTORY_NOFOLLOW | flags;
    let resolve =
        ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
    let how = OpenHow::new().flags(flags).resolve(resolve);
    for _ in 0..MAX_ATTEMPTS {
        match openat2(parent, path, how) {
            Err(Errno::EAGAIN) => continue,
            Err(Errno::ENOSYS | Errno::EPERM) => return open_step_by_step(parent, path, flags),
            opened => return Ok(opened?),
        }
    }
    Err(Errno::EBUSY.into())
}

/// Opens the current parent of `dir` as an `O_PATH` descriptor. The parent may be outside of the volume.
pub fn open_parent(dir: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(openat(dir, "..", READ_DIRECTORY_NOFOLLOW | OFlag::O_PATH, Mode::empty())?)
}

/// Does what [`open_beneath`] does, without `openat2`: opens one component at a time, and no link.
///
/// The last directory's mount ID shows whether the path entered another mount: the way down never leads back.
fn open_step_by_step(parent: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let mount = mount_id(parent)?;
    let mut dir = parent.try_clone_to_owned()?;
    for component in path.components() {
        let std::path::Component::Normal(name) = component else { return Err(Errno::EXDEV.into()) };
        dir = openat(dir.as_fd(), name, flags, Mode::empty())?;
    }
    match mount_id(dir.as_fd())? == mount {
        true => Ok(dir),
        false => Err(Errno::EXDEV.into()),
    }
}

/// Returns the mount ID of an open file. A bind mount of the same device has another ID.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
pub(crate) fn mount_id(file: BorrowedFd<'_>) -> io::Result<u64> {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_raw_fd()))?;
    let id = info.lines().find_map(|line| line.strip_prefix("mnt_id:"));
    id.and_then(|id| id.trim().parse().ok()).ok_or_else(|| Errno::ENOSYS.into())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the disk from outside")]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn step_by_step(parent: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
        open_step_by_step(parent, path, READ_DIRECTORY_NOFOLLOW)
    }

    #[test]
    fn both_ways_open_a_directory_and_refuse_a_link_in_its_place() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("a/b")).unwrap();
        symlink(home.path().join("a"), home.path().join("link")).unwrap();
        let root = std::fs::File::open(home.path()).unwrap();
        for open in [open_subdirectory, step_by_step] {
            open(root.as_fd(), Path::new("a/b")).unwrap();
            for path in ["link", "link/b"] {
                let errno = open(root.as_fd(), Path::new(path)).unwrap_err().raw_os_error().unwrap();
                assert!([Errno::ELOOP as i32, Errno::ENOTDIR as i32].contains(&errno), "{path}: {errno}");
            }
            let errno = open(root.as_fd(), Path::new("..")).unwrap_err().raw_os_error();
            assert_eq!(errno, Some(Errno::EXDEV as i32));
        }
    }

    #[test]
    fn both_ways_refuse_to_enter_a_directory_bound_from_elsewhere() {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};
        let home = tempfile::tempdir().unwrap();
        let [elsewhere, bound] = ["elsewhere", "bound"].map(|name| home.path().join(name));
        std::fs::create_dir_all(elsewhere.join("sub")).unwrap();
        std::fs::create_dir(&bound).unwrap();
        let none: Option<&str> = None;
        if let Err(errno) = mount(Some(&elsewhere), &bound, none, MsFlags::MS_BIND, none) {
            eprintln!("skipped: mounting needs root: {errno}");
            return;
        }
        let root = std::fs::File::open(home.path()).unwrap();
        let opened = [open_subdirectory, step_by_step]
            .map(|open| ["bound", "bound/sub"].map(|path| open(root.as_fd(), Path::new(path)).map(drop)));
        umount2(&bound, MntFlags::MNT_DETACH).unwrap();
        for result in opened.into_iter().flatten() {
            assert_eq!(result.unwrap_err().raw_os_error(), Some(Errno::EXDEV as i32));
        }
    }
}
