//! Whether another program works with a disk image.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use nix::libc;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// Where QEMU keeps its shared locks: a byte for each thing that it does with the image, from here on.
const QEMU_DOES: libc::off_t = 100;

/// Which of these bytes stand for writing and for resizing.
const QEMU_CHANGES: [libc::off_t; 2] = [QEMU_DOES + 1, QEMU_DOES + 3];

/// Whether a lock of another program keeps an open image from being read, or for a writer from being read and
/// written. Both kinds of locks count: `flock`, which microsandbox holds, and record locks, which QEMU holds.
///
/// It is a look at this moment and keeps nobody out afterwards.
pub fn is_locked_by_others(file: BorrowedFd<'_>, readonly: bool) -> io::Result<bool> {
    let share = if readonly { FlockArg::LockSharedNonblock } else { FlockArg::LockExclusiveNonblock };
    match Flock::lock(file.try_clone_to_owned()?, share) {
        Ok(free) => drop(free),
        Err((_, Errno::EWOULDBLOCK)) => return Ok(true),
        Err((_, errno)) => return Err(errno.into()),
    }
    if !readonly {
        return has_record_lock(file, libc::F_WRLCK, 0, 0);
    }
    // QEMU's locks are all shared ones; what it does with the image is told by the bytes that it locks.
    let writers = QEMU_CHANGES.into_iter().map(|byte| has_record_lock(file, libc::F_WRLCK, byte, 1));
    let exclusive = has_record_lock(file, libc::F_RDLCK, 0, 0)?;
    writers.into_iter().try_fold(exclusive, |found, writer| Ok(found || writer?))
}

/// Whether somebody holds a record lock that a lock of `kind` would have to wait for. A length of 0 reaches to
/// the end of the file, wherever that may come to be.
fn has_record_lock(
    file: BorrowedFd<'_>,
    kind: libc::c_int,
    start: libc::off_t,
    length: libc::off_t,
) -> io::Result<bool> {
    let mut lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}
