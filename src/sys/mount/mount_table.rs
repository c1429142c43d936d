//! Attached mounts: their identity, where they are, and how to unmount them.

#![expect(unsafe_code, reason = "no dependency of ours wraps statx with STATX_MNT_ID_UNIQUE")]

use super::detached_mount::unmount_lazily;
use crate::error::{Error, Result};
use crate::sys::fs::dir::FileId;
use crate::sys::fs::open_beneath::mount_id;
use crate::sys::fs::open_flags::PATH_ONLY_NOFOLLOW;
use linux_raw_sys::general::{AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE, statx};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, openat};
use nix::libc;
use nix::sys::stat::{Mode, stat};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

/// How often a mount is looked up while a guest renames it.
const MAX_ATTEMPTS: usize = 1000;

/// Identifies a mount among all mounts of this boot.
///
/// Before Linux 6.8 the kernel reuses mount IDs, so a mount is also identified by device and inode of its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountIdentity {
    /// The mount ID in `/proc/self/mountinfo`.
    pub id: u64,
    /// The mount ID that is never reused (`STATX_MNT_ID_UNIQUE`), or 0 if the kernel has none.
    pub unique: u64,
    /// Device and inode of the mount's root.
    pub root: FileId,
}

impl MountIdentity {
    /// Identifies the mount whose root is open.
    pub fn of(root: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(MountIdentity { id: mount_id(root)?, unique: unique_id(root)?, root: FileId::of_open(root)? })
    }
}

fn unique_id(file: BorrowedFd<'_>) -> io::Result<u64> {
    let mut stat = MaybeUninit::<statx>::zeroed();
    // SAFETY: the descriptor is open, the path is an empty C string, and the kernel writes to `stat`, which has the
    // type that this call takes.
    let done = unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH,
            STATX_MNT_ID_UNIQUE,
            stat.as_mut_ptr(),
        )
    };
    Errno::result(done)?;
    // SAFETY: the struct consists of integers, and was all zeros before the kernel wrote to it.
    let stat = unsafe { stat.assume_init() };
    Ok(if stat.stx_mask & STATX_MNT_ID_UNIQUE != 0 { stat.stx_mnt_id } else { 0 })
}

/// Returns the mount namespaces of all threads that this process may inspect.
///
/// It visits threads, not processes only: a process whose main thread has ended uses one, and a thread may have left
/// the namespace of its process.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
pub fn mount_namespaces_in_use() -> Result<HashSet<u64>> {
    let path = "/proc";
    let processes = std::fs::read_dir(path).map_err(|error| Error::file_system("scandir", path, error))?;
    let is_process = |name: &OsString| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let threads = processes
        .flatten()
        .filter(|process| is_process(&process.file_name()))
        .flat_map(|process| std::fs::read_dir(process.path().join("task")))
        .flat_map(Iterator::flatten);
    Ok(threads.flat_map(|thread| stat(&thread.path().join("ns/mnt"))).map(|found| found.st_ino).collect())
}

/// Unmounts a mount of this mount namespace, with the mounts below it, also if its path was renamed. Succeeds if the
/// mount is gone. Fails with `EBUSY` if another mount covers it.
pub fn unmount_by_identity(mount: &MountIdentity) -> io::Result<()> {
    for _ in 0..MAX_ATTEMPTS {
        let Some(path) = mount_point_of(mount.id)? else { return Ok(()) };
        let root = openat(AT_FDCWD, path.as_os_str(), PATH_ONLY_NOFOLLOW, Mode::empty());
        let Ok(root) = root else { continue };
        let Ok(found) = MountIdentity::of(root.as_fd()) else { continue };
        if found == *mount {
            return Ok(unmount_lazily(root.as_fd())?);
        }
        if found.id == mount.id {
            // A later mount has the same ID: ours is gone.
            return Ok(());
        }
    }
    Err(Errno::EBUSY.into())
}

/// Returns the path of the mount with that ID, or `None` if there is no such mount.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn mount_point_of(id: u64) -> io::Result<Option<OsString>> {
    let mounts = std::fs::read("/proc/thread-self/mountinfo")?;
    let id = id.to_string();
    let path = mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        (fields.next() == Some(id.as_bytes())).then(|| fields.nth(3)).flatten()
    });
    Ok(path.map(|path| OsString::from_vec(unescaped(path))))
}

/// Decodes a path of mountinfo, in which a blank or backslash is a backslash and three octal digits.
pub(crate) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let digits = tail.first_chunk::<3>().filter(|_| *first == b'\\');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::mount_namespace;

    #[test]
    fn a_path_of_mountinfo_is_decoded() {
        assert_eq!(unescaped(br"/a\040b\134\011/\012x\"), b"/a b\\\t/\nx\\");
        assert_eq!(unescaped(b"/plain"), b"/plain");
    }

    #[test]
    fn this_process_is_in_a_mount_namespace_that_is_in_use() {
        assert!(mount_namespaces_in_use().unwrap().contains(&mount_namespace().unwrap()));
    }
}
