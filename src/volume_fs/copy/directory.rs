//! What a directory of a copy gets: owner, rights and attributes.

use super::dir_pair::DirPair;
use super::endpoint::{EndpointResult, EndpointSide};
use super::job::CopyContext;
use super::policy::OwnerPolicy;
use crate::error::Result;
use crate::sys::{CopiedRights, FileStat, Inheritance, inherited_group, mode_of_new_directory};
use crate::volume_fs::walk::cursor::TreePath;
use nix::sys::stat::{Mode, fchmod};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::fchown;

/// The mode of a directory that is settled once it is opened.
pub const UNSETTLED: u32 = 0o700;

const STICKY: u32 = 0o1000;

/// Whether a directory gives what is made in it more than a mode. A new directory in one is made with its final mode:
/// an unprivileged process that changes the mode can lose what the directory gave.
pub fn has_heirs(dir: BorrowedFd<'_>) -> EndpointResult<bool> {
    Inheritance::of(dir).map(|inheritance| inheritance.is_any()).map_err(|error| (EndpointSide::To, error))
}

/// The mode that a copy of the directory `original`, which a descriptor that can do no I/O suffices for, has elsewhere.
pub fn final_mode(context: &CopyContext, original: BorrowedFd<'_>) -> EndpointResult<u32> {
    let mode = || {
        let facts = FileStat::of(original)?;
        Ok(mode_of(context, &facts, &CopiedRights::of(original, &facts)?))
    };
    mode().map_err(|error| (EndpointSide::From, error))
}

/// Gives a new directory what it gets before it is filled, and returns the mode that is still to be set, if any.
pub fn settle(
    context: &CopyContext,
    pair: &DirPair,
    facts: &FileStat,
    path: &TreePath,
) -> Result<Option<u32>> {
    let rights = CopiedRights::of(pair.from.as_fd(), facts)
        .map_err(|error| context.sides.from.refused("listxattr", &path.to_path_buf(), error))?;
    let refused = |syscall, error: io::Error| context.sides.to.refused(syscall, &path.to_path_buf(), error);
    rights.give_attributes(pair.from.as_fd(), pair.to.as_fd()).map_err(|error| refused("setxattr", error))?;
    give_owner(context, pair, facts).map_err(|error| refused("fchown", error))?;
    mode_of_new_directory(pair.to.as_fd(), mode_of(context, facts, &rights))
        .map_err(|error| refused("getxattr", error))
}

/// Sets the mode that settling left.
pub fn change_mode(context: &CopyContext, pair: &DirPair, mode: u32, path: &TreePath) -> Result<()> {
    let changed = fchmod(&pair.to, Mode::from_bits_truncate(mode));
    changed.map_err(|errno| context.sides.to.refused("fchmod", &path.to_path_buf(), errno))
}

fn mode_of(context: &CopyContext, facts: &FileStat, rights: &CopiedRights) -> u32 {
    (rights.permissions | facts.mode() & STICKY) & context.rules.directory_mode
}

/// Gives it its owner, and its group where its directory gave it none. An unprivileged process cannot give files away.
fn give_owner(context: &CopyContext, pair: &DirPair, facts: &FileStat) -> io::Result<()> {
    let (user, group) = facts.owner();
    if context.rules.owner == OwnerPolicy::CurrentUser || (user, group) == context.ours {
        return Ok(());
    }
    // Its set-gid bit is from the directory that it was made in.
    let inherited = inherited_group(pair.to.as_fd())?;
    match fchown(&pair.to, Some(user), Some(inherited.unwrap_or(group))) {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
        _ => Ok(()),
    }
}
