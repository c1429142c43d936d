//! From a descriptor that only names a file to one that reads or writes it.

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Writing, from the beginning, without cutting anything off.
    Write,
    /// Both.
    ReadWrite,
    /// Writing, always at the end as it is at that moment.
    Append,
}

/// A path that leads to the very file that this process has open, for other processes of the same user as long as
/// it is.
pub fn path_to_open(file: BorrowedFd<'_>) -> PathBuf {
    descriptor_path(&std::process::id().to_string(), file)
}

pub(crate) fn descriptor_path(process: &str, file: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/{process}/fd/{}", file.as_raw_fd()).into()
}

/// Opens the very file that `file`, an `O_PATH` descriptor, stands for.
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
