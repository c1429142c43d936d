//! Flushes the name of an entry and the names of its parent directories to disk.

use super::dir::FileId;
use super::open_flags::READ_DIRECTORY;
use nix::errno::Errno;
use nix::fcntl::openat;
use nix::sys::stat::Mode;
use nix::unistd::{fsync, syncfs};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// How many directories are synced one by one. If more are needed, the whole file system is synced.
const MAX_SYNCED_DIRS: usize = 32;

/// Flushes the entries of `dir`, and of each of its parents up to `top`, to disk: any of them may be new. `top` must
/// not be an `O_PATH` descriptor.
///
/// TOCTOU: if a directory is moved during the call, its new parents are synced, which does no harm.
pub fn sync_up_to(dir: BorrowedFd<'_>, top: BorrowedFd<'_>) -> io::Result<()> {
    let top_id = FileId::of_open(top)?;
    // `dir` may be an O_PATH descriptor.
    let mut here = match openat(dir, ".", READ_DIRECTORY, Mode::empty()) {
        // A directory that this process may not read may be writable.
        Err(Errno::EACCES) => return Ok(syncfs(top)?),
        opened => opened?,
    };
    for _ in 0..MAX_SYNCED_DIRS {
        fsync(&here)?;
        if FileId::of_open(here.as_fd())? == top_id {
            return Ok(());
        }
        here = match openat(&here, "..", READ_DIRECTORY, Mode::empty()) {
            // A directory that this process may not read may be searchable.
            Err(Errno::EACCES) => break,
            parent => parent?,
        };
    }
    Ok(syncfs(&here)?)
}
