//! Locks on disk images, by `flock` and by record locks, as microsandbox, QEMU and this library use them.

use super::record_lock::{EXCLUSIVE, SHARED, has_record_lock, try_lock_record, unlock_record};
use crate::sys::FileId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::statfs::fstatfs;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// QEMU locks byte `QEMU_USES + n` if it uses permission `n` on the image.
const QEMU_USES: libc::off_t = 100;

/// QEMU locks byte `QEMU_UNSHARES + n` if it does not let another process use permission `n`.
const QEMU_UNSHARES: libc::off_t = 200;

/// The numbers of QEMU's permissions: `BLK_PERM_CONSISTENT_READ`, `BLK_PERM_WRITE` and `BLK_PERM_RESIZE`.
const CONSISTENT_READ: libc::off_t = 0;
const WRITE: libc::off_t = 1;
const RESIZE: libc::off_t = 3;

/// The bytes that QEMU locks while it may change an image.
const QEMU_CHANGES: [libc::off_t; 2] = [QEMU_USES + WRITE, QEMU_USES + RESIZE];

/// The bytes that an attachment of this library, of any home, locks while it reads or writes an image: beyond QEMU's.
const WE_READ: libc::off_t = 300;
const WE_WRITE: libc::off_t = 301;

/// A `flock` on an image that no other program uses. It excludes programs that take a `flock`.
#[derive(Debug)]
pub struct ImageLock(Flock<OwnedFd>);

impl ImageLock {
    /// Returns the identity of the file, or `None` on a network file system, where the lock does not show that no other
    /// program holds one.
    pub fn proof(&self) -> io::Result<Option<FileId>> {
        match is_on_network(self.0.as_fd())? {
            true => Ok(None),
            false => FileId::of_open(self.0.as_fd()).map(Some),
        }
    }
}

/// Locks an open image. Returns `None` if another program's lock forbids to read it, or to write it unless `readonly`.
///
/// Checks both kinds of locks: `flock`, which microsandbox holds, and record locks, which QEMU holds. [`HeldFile`]
/// holds both.
pub fn lock_image(file: BorrowedFd<'_>, readonly: bool) -> io::Result<Option<ImageLock>> {
    let mode = if readonly { FlockArg::LockSharedNonblock } else { FlockArg::LockExclusiveNonblock };
    let lock = match Flock::lock(file.try_clone_to_owned()?, mode) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    Ok((!has_conflicting_record(file, readonly)?).then_some(ImageLock(lock)))
}

/// Takes a `flock` on this open file description. Returns `false` if another one's `flock` conflicts.
fn try_flock(file: &File, readonly: bool) -> io::Result<bool> {
    match if readonly { file.try_lock_shared() } else { file.try_lock() } {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks an open image as [`lock_image`], [`HeldFile::lock`] and QEMU do. Returns `false` if another program's lock
/// conflicts.
///
/// The locks last until the open file description is closed. A loop device keeps it open after this process has ended.
pub fn lock_while_open(file: &File, readonly: bool) -> io::Result<bool> {
    if !try_flock(file, readonly)? {
        return Ok(false);
    }
    let permissions: &[libc::off_t] =
        if readonly { &[CONSISTENT_READ] } else { &[CONSISTENT_READ, WRITE, RESIZE] };
    let ours = if readonly { WE_READ } else { WE_WRITE };
    let used = permissions.iter().map(|permission| QEMU_USES + permission);
    for byte in used.chain([QEMU_UNSHARES + WRITE, QEMU_UNSHARES + RESIZE, ours]) {
        if !try_lock_record(file, SHARED, byte, 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_conflicting_record(file: BorrowedFd<'_>, readonly: bool) -> io::Result<bool> {
    if !readonly {
        return has_record_lock(file, EXCLUSIVE, 0, 0);
    }
    // QEMU and this library take shared locks only; the locked bytes show what the holder does with the image.
    let exclusive = has_record_lock(file, SHARED, 0, 0)?;
    let mut writers = QEMU_CHANGES.into_iter().chain([WE_WRITE]);
    writers.try_fold(exclusive, |found, byte| Ok(found || has_record_lock(file, EXCLUSIVE, byte, 1)?))
}

/// A file of an attached disk. Unlocks the file when it is dropped: closing alone would leave the locks to a child
/// process that is being started and has not yet called `execve(2)`.
#[derive(Debug)]
pub struct HeldFile(File);

impl HeldFile {
    /// Wraps a file without locking it.
    pub fn new(file: File) -> Self {
        HeldFile(file)
    }

    /// Locks the file for an attachment until this is dropped. Returns `false` if another program's lock conflicts.
    ///
    /// The `flock` and the record lock are both on this open file description. Only the `flock` can be released before.
    /// No `flock` is taken on a network file system, where it would be a record lock on the whole file.
    pub fn lock(&self, readonly: bool) -> io::Result<bool> {
        if !self.take_flock(readonly)? {
            return Ok(false);
        }
        if has_conflicting_record(self.as_fd(), readonly)? {
            self.release_flock()?;
            return Ok(false);
        }
        let byte = if readonly { WE_READ } else { WE_WRITE };
        // Shared locks do not conflict, and no program takes an exclusive lock on these bytes.
        try_lock_record(&self.0, SHARED, byte, 1).map(|_| true)
    }

    /// Reports whether a granted lock shows that no other program holds one. On a network file system it does not: locks
    /// may be local to one mount.
    pub fn sees_all_locks(&self) -> io::Result<bool> {
        Ok(!is_on_network(self.as_fd())?)
    }

    /// Releases the `flock`, for a program that takes it itself.
    pub fn release_flock(&self) -> io::Result<()> {
        self.0.unlock()
    }

    /// Takes the `flock`. Returns `false` if another open file description's `flock` conflicts.
    pub fn take_flock(&self, readonly: bool) -> io::Result<bool> {
        match is_on_network(self.as_fd())? {
            true => Ok(true),
            false => try_flock(&self.0, readonly),
        }
    }
}

impl AsFd for HeldFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        let _nothing_was_locked = self.release_flock();
        let _nothing_was_locked = unlock_record(&self.0, 0, 0);
    }
}

/// File systems on which a `flock` may be a record lock on the whole file: NFS, SMB, Ceph, 9p, AFS.
const NETWORK_FILE_SYSTEMS: [u32; 7] =
    [0x6969, 0x517b, 0xff53_4d42, 0xfe53_4d42, 0x00c3_6400, 0x0102_1997, 0x5346_414f];

fn is_on_network(file: BorrowedFd<'_>) -> io::Result<bool> {
    let kind = fstatfs(file)?.filesystem_type();
    Ok(NETWORK_FILE_SYSTEMS.contains(&(kind.0 as u32)))
}
