//! Restores the owner's rights on a directory, which a guest of the same user can take away.

use super::open_beneath::open_beneath;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod, fstat};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The rights that an owner needs to list and change a directory.
const OWNER_RIGHTS: u32 = 0o700;

/// Restores the owner's rights on the directory `name` of `parent`. This process must be the owner. Fails if a link is
/// there, and with `EACCES` if the owner has all rights.
#[expect(clippy::disallowed_methods, reason = "the path is procfs' name for a descriptor that we hold")]
pub fn regain_access_to(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    // An O_PATH descriptor needs no rights on the directory, but fchmod(2) refuses it.
    let dir = open_beneath(parent, name, OFlag::O_PATH)?;
    let mode = lacking_mode(dir.as_fd())?;
    let path = format!("/proc/self/fd/{}", dir.as_raw_fd());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
}

/// Same as [`regain_access_to`], for an open directory.
pub fn regain_access(dir: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fchmod(dir, Mode::from_bits_truncate(lacking_mode(dir)?))?)
}

/// Returns the mode with the owner's rights. Fails with `EACCES` if it has them: then other rights are missing.
fn lacking_mode(dir: BorrowedFd<'_>) -> io::Result<u32> {
    let mode = fstat(dir)?.st_mode & 0o7777;
    match mode & OWNER_RIGHTS {
        OWNER_RIGHTS => Err(Errno::EACCES.into()),
        _ => Ok(mode | OWNER_RIGHTS),
    }
}
