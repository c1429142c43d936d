//! Rights on directories that their owner took from itself, as a guest of the same user can.

use super::open_beneath::open_beneath;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// What an owner needs to list a directory and to change it.
const OWNER: u32 = 0o700;

/// Gives the owner, which this process must be, its rights on the directory `name` of `parent` back. A link in its
/// place is an error.
#[expect(clippy::disallowed_methods, reason = "the path is procfs' name for a descriptor that we hold")]
pub fn regain_access_to(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    // Such a descriptor needs no right on the directory, but neither can it be given to fchmod.
    let dir = open_beneath(parent, name, OFlag::O_PATH)?;
    let mode = lacking_mode(dir.as_fd())?;
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// The same for an open directory.
pub fn regain_access(dir: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fchmod(dir, Mode::from_bits_truncate(lacking_mode(dir)?))?)
}

/// The mode with the owner's rights; `EACCES` where it has them, so that it is not these that are lacking.
fn lacking_mode(dir: BorrowedFd<'_>) -> io::Result<u32> {
    let mode = fstat(dir)?.st_mode & 0o7777;
    match mode & OWNER {
        OWNER => Err(Errno::EACCES.into()),
        _ => Ok(mode | OWNER),
    }
}
