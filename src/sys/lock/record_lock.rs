//! Record locks of an open file description (`F_OFD_SETLK`). The bytes need not exist, and no call blocks.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::io;
use std::os::fd::AsFd;

pub use nix::libc::{F_RDLCK as SHARED, F_WRLCK as EXCLUSIVE};

/// Locks bytes. Returns `false` if another lock conflicts.
pub fn try_lock_record(
    file: impl AsFd,
    kind: libc::c_int,
    start: libc::off_t,
    length: libc::off_t,
) -> io::Result<bool> {
    match fcntl(file, FcntlArg::F_OFD_SETLK(&record_lock(kind, start, length))) {
        Ok(_) => Ok(true),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// Unlocks bytes.
pub fn unlock_record(file: impl AsFd, start: libc::off_t, length: libc::off_t) -> io::Result<()> {
    fcntl(file, FcntlArg::F_OFD_SETLK(&record_lock(libc::F_UNLCK, start, length)))?;
    Ok(())
}

/// Reports whether another record lock conflicts with a lock of `kind`. A length of 0 reaches to the end of the file,
/// also after the file grows.
pub fn has_record_lock(
    file: impl AsFd,
    kind: libc::c_int,
    start: libc::off_t,
    length: libc::off_t,
) -> io::Result<bool> {
    let mut lock = record_lock(kind, start, length);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
}

fn record_lock(kind: libc::c_int, start: libc::off_t, length: libc::off_t) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    }
}
