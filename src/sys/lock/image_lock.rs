//! Whether another program works with a disk image.

use super::record_lock::{EXCLUSIVE, SHARED, has_record_lock, try_lock_record, unlock_record};
use crate::sys::FileId;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::sys::statfs::fstatfs;
use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Where QEMU keeps its shared locks: a byte for each thing that it does with the image, from here on.
const QEMU_DOES: libc::off_t = 100;

/// Where QEMU keeps what it does not let others do at the same time.
const QEMU_REFUSES: libc::off_t = 200;

/// Of what QEMU knows to be done with an image, reading a state that stays.
const CONSISTENT_READ: libc::off_t = 0;
const WRITE: libc::off_t = 1;
const RESIZE: libc::off_t = 3;

/// Which bytes stand for writing and for resizing.
const QEMU_CHANGES: [libc::off_t; 2] = [QEMU_DOES + WRITE, QEMU_DOES + RESIZE];

/// The bytes by which an attachment of ours, of whatever home, says that it reads or writes an image: beyond QEMU's.
const WE_READ: libc::off_t = 300;
const WE_WRITE: libc::off_t = 301;

/// A `flock` on an image that nobody else works with, which keeps those away who take one.
#[derive(Debug)]
pub struct ImageLock(Flock<OwnedFd>);

impl ImageLock {
    /// The file, if the lock shows that nobody else has one; see [`HeldFile::sees_all_locks`].
    pub fn proof(&self) -> io::Result<Option<FileId>> {
        match is_on_network(self.0.as_fd())? {
            true => Ok(None),
            false => FileId::of_open(self.0.as_fd()).map(Some),
        }
    }
}

/// Locks an open image unless another program's lock keeps it from being read, or for a writer from being read and
/// written; then none. Both kinds of locks count: `flock`, which microsandbox holds, and record locks, which QEMU holds;
/// [`HeldFile`] holds both.
pub fn lock_image(file: BorrowedFd<'_>, readonly: bool) -> io::Result<Option<ImageLock>> {
    let share = if readonly { FlockArg::LockSharedNonblock } else { FlockArg::LockExclusiveNonblock };
    let lock = match Flock::lock(file.try_clone_to_owned()?, share) {
        Ok(lock) => lock,
        Err((_, Errno::EWOULDBLOCK)) => return Ok(None),
        Err((_, errno)) => return Err(errno.into()),
    };
    Ok((!is_recorded(file, readonly)?).then_some(ImageLock(lock)))
}

/// Takes a `flock` on this opening of a file; false if another opening's is in the way.
fn try_flock(file: &File, readonly: bool) -> io::Result<bool> {
    match if readonly { file.try_lock_shared() } else { file.try_lock() } {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks an open image as [`lock_image`] and [`HeldFile::lock`] do, and as QEMU does, until nobody has this very opening
/// of it: a loop device that was given it goes on where this process ends. False where another program is in the way.
pub fn lock_while_open(file: &File, readonly: bool) -> io::Result<bool> {
    if !try_flock(file, readonly)? {
        return Ok(false);
    }
    let does: &[libc::off_t] = if readonly { &[CONSISTENT_READ] } else { &[CONSISTENT_READ, WRITE, RESIZE] };
    let ours = if readonly { WE_READ } else { WE_WRITE };
    let done = does.iter().map(|does| QEMU_DOES + does);
    for byte in done.chain([QEMU_REFUSES + WRITE, QEMU_REFUSES + RESIZE, ours]) {
        if !try_lock_record(file, SHARED, byte, 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_recorded(file: BorrowedFd<'_>, readonly: bool) -> io::Result<bool> {
    if !readonly {
        return has_record_lock(file, EXCLUSIVE, 0, 0);
    }
    // QEMU's locks and ours are all shared ones; what somebody does with the image is told by the bytes they lock.
    let exclusive = has_record_lock(file, SHARED, 0, 0)?;
    let mut writers = QEMU_CHANGES.into_iter().chain([WE_WRITE]);
    writers.try_fold(exclusive, |found, byte| Ok(found || has_record_lock(file, EXCLUSIVE, byte, 1)?))
}

/// A file of an attached disk, whose locks end with it: closing it alone would leave them to a child process that is
/// just being started and has it open for another moment.
#[derive(Debug)]
pub struct HeldFile(File);

impl HeldFile {
    /// A file that nothing is told of yet.
    pub fn new(file: File) -> Self {
        HeldFile(file)
    }

    /// Locks the file for an attachment, until this is dropped, unless another program's lock is in the way: then
    /// false. The `flock` and the record lock are both on this opening of the file. Only the `flock` can be given up
    /// before; on a network file system, where it would be a record lock on the whole file, none is taken.
    pub fn lock(&self, readonly: bool) -> io::Result<bool> {
        if !self.take_flock(readonly)? {
            return Ok(false);
        }
        if is_recorded(self.as_fd(), readonly)? {
            self.release_flock()?;
            return Ok(false);
        }
        let byte = if readonly { WE_READ } else { WE_WRITE };
        // Shared locks of others are in nobody's way, and nobody takes an exclusive one on these bytes.
        try_lock_record(&self.0, SHARED, byte, 1).map(|_| true)
    }

    /// Whether a lock that could be taken shows that nobody else has one. A network file system may keep locks to one of
    /// its mounts.
    pub fn sees_all_locks(&self) -> io::Result<bool> {
        Ok(!is_on_network(self.as_fd())?)
    }

    /// Gives up the `flock`, for a program that takes it itself.
    pub fn release_flock(&self) -> io::Result<()> {
        self.0.unlock()
    }

    /// Takes the `flock`; false if another opening's is in the way.
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
