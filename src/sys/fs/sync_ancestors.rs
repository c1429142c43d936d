//! Putting a name on disk, with the names of the directories that lead to it.

use super::dir::FileId;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{fsync, syncfs};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

/// How many directories are synced one by one; above that the whole file system is.
const MOST: usize = 32;

/// Puts the entries of a directory on disk, and those of each above it up to `top`, which can do I/O: any of them may have
/// been made just before. One that was moved away from there meanwhile is synced with what is above it now, which changes
/// nothing.
pub fn sync_up_to(dir: BorrowedFd<'_>, top: BorrowedFd<'_>) -> io::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top_id = FileId::of_open(top)?;
    // The descriptor itself may be one that can do no I/O.
    let mut here = match openat(dir, ".", flags, Mode::empty()) {
        // What may not be read may still be written.
        Err(Errno::EACCES) => return Ok(syncfs(top)?),
        opened => opened?,
    };
    for _ in 0..MOST {
        fsync(&here)?;
        if FileId::of_open(here.as_fd())? == top_id {
            return Ok(());
        }
        here = match openat(&here, "..", flags, Mode::empty()) {
            // What may not be read may still be passed through.
            Err(Errno::EACCES) => break,
            above => above?,
        };
    }
    Ok(syncfs(&here)?)
}
