//! Opens the file of an `O_PATH` descriptor for I/O.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// The access mode of [`reopen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing, from the beginning, without truncation.
    Write,
    /// Reading and writing.
    ReadWrite,
    /// Writing, always at the current end.
    Append,
}

/// Returns a path by which other processes of the same user can open this very file, while this process has it open.
pub fn path_to_open(file: BorrowedFd<'_>) -> PathBuf {
    descriptor_path(&std::process::id().to_string(), file)
}

/// Returns the procfs path of a descriptor of `process`.
pub(crate) fn descriptor_path(process: &str, file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/{process}/fd/{}", file.as_raw_fd()).into()
}

/// Opens the file that `file`, an `O_PATH` descriptor, names.
pub fn reopen(file: BorrowedFd<'_>, access: Access) -> io::Result<OwnedFd> {
    let access = match access {
        Access::Read => OFlag::O_RDONLY,
        Access::Write => OFlag::O_WRONLY,
        Access::ReadWrite => OFlag::O_RDWR,
        Access::Append => OFlag::O_WRONLY | OFlag::O_APPEND,
    };
    let flags = access | OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    Ok(open(&descriptor_path("self", file), flags, Mode::empty())?)
}
