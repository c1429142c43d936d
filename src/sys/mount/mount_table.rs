//! Mounts that are in place: told from every other, found again, taken away.

#![expect(unsafe_code, reason = "no dependency of ours wraps statx with what tells a mount for ever")]

use super::detached_mount::unmount;
use crate::sys::fs::dir::FileId;
use crate::sys::fs::open_beneath::mount_id;
use linux_raw_sys::general::{AT_EMPTY_PATH, STATX_MNT_ID_UNIQUE, statx};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::libc;
use nix::sys::stat::{Mode, stat};
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

/// How often a mount may be renamed away from where it was just found: a guest may do so as fast as it can.
const ATTEMPTS: usize = 1000;

/// Tells a mount from every other of this boot, and on kernels before 6.8, which give its number to a later one, from
/// every one that shows something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MountIdentity {
    /// The number that the list of mounts knows it by.
    pub id: u64,
    /// The number that no other mount ever has; 0 where the kernel gives none.
    pub unique: u64,
    /// What it shows.
    pub root: FileId,
}

impl MountIdentity {
    /// The mount that an open file is seen through; the file is to be its root.
    pub fn of(root: BorrowedFd<'_>) -> io::Result<Self> {
        Ok(MountIdentity { id: mount_id(root)?, unique: unique_id(root)?, root: FileId::of_open(root)? })
    }
}

fn unique_id(file: BorrowedFd<'_>) -> io::Result<u64> {
    let mut facts = MaybeUninit::<statx>::zeroed();
    // SAFETY: the descriptor is open, the path is an empty C string, and the kernel writes to `facts`, which has the
    // type that this call takes.
    let done = unsafe {
        libc::syscall(
            libc::SYS_statx,
            file.as_raw_fd(),
            c"".as_ptr(),
            AT_EMPTY_PATH,
            STATX_MNT_ID_UNIQUE,
            facts.as_mut_ptr(),
        )
    };
    Errno::result(done)?;
    // SAFETY: it consists of integers, and was all zeros before the kernel wrote to it.
    let facts = unsafe { facts.assume_init() };
    Ok(if facts.stx_mask & STATX_MNT_ID_UNIQUE != 0 { facts.stx_mnt_id } else { 0 })
}

/// The name space that this thread's mounts belong to.
pub fn mount_namespace() -> io::Result<u64> {
    Ok(stat("/proc/thread-self/ns/mnt")?.st_ino)
}

/// The mount name spaces of all threads that this process may look at: a process whose main thread has ended, or a
/// thread that left the name space of its process, uses one as well.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
pub fn mount_namespaces_in_use() -> io::Result<HashSet<u64>> {
    let processes = std::fs::read_dir("/proc")?.flatten();
    let is_process = |name: &OsString| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    let threads = processes
        .filter(|process| is_process(&process.file_name()))
        .flat_map(|process| std::fs::read_dir(process.path().join("task")))
        .flat_map(Iterator::flatten);
    Ok(threads.flat_map(|thread| stat(&thread.path().join("ns/mnt"))).map(|found| found.st_ino).collect())
}

/// Takes a mount of this name space away, wherever it has been renamed to, with what is mounted below it. One that is
/// there no more is fine; one that another mount covers is `EBUSY`.
pub fn take_away(mount: &MountIdentity) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        let Some(path) = resolve_entry(mount.id)? else { return Ok(()) };
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let Ok(root) = openat(AT_FDCWD, path.as_os_str(), flags, Mode::empty()) else { continue };
        let Ok(found) = MountIdentity::of(root.as_fd()) else { continue };
        if found == *mount {
            return Ok(unmount(root.as_fd())?);
        }
        if found.id == mount.id {
            // A later mount of the same number: ours is gone.
            return Ok(());
        }
    }
    Err(Errno::EBUSY.into())
}

/// Where the mount of that number is.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
fn resolve_entry(id: u64) -> io::Result<Option<OsString>> {
    let mounts = std::fs::read("/proc/thread-self/mountinfo")?;
    let id = id.to_string();
    let place = mounts.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        (fields.next() == Some(id.as_bytes())).then(|| fields.nth(3)).flatten()
    });
    Ok(place.map(|place| OsString::from_vec(unescaped(place))))
}

/// A path as the list of mounts writes it: three octal digits for each byte that would end a field.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        let digits = behind.first_chunk::<3>().filter(|_| *first == b'\\');
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match byte {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_the_list_of_mounts_is_read_as_it_was() {
        assert_eq!(unescaped(br"/a\040b\134\011/\012x\"), b"/a b\\\t/\nx\\");
        assert_eq!(unescaped(b"/plain"), b"/plain");
    }

    #[test]
    fn this_process_is_in_a_mount_name_space_that_is_in_use() {
        assert!(mount_namespaces_in_use().unwrap().contains(&mount_namespace().unwrap()));
    }
}
