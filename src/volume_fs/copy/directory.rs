//! Applies owner, rights and attributes to the directories of a copy.

use super::dir_pair::DirPair;
use super::endpoint::{EndpointResult, EndpointSide};
use super::job::CopyContext;
use super::policy::OwnerPolicy;
use crate::error::Result;
use crate::sys::fd::{AsFd, BorrowedFd};
use crate::sys::{CopiedRights, FileStat, Inheritance, chown_copy, mode_of_new_directory, set_mode};
use crate::volume_fs::walk::cursor::TreePath;
use std::io;

/// The mode of a directory whose attributes are applied once it is open.
pub const INITIAL_DIR_MODE: u32 = 0o700;

const STICKY: u32 = 0o1000;

/// Returns whether new entries inherit more than a mode from the directory. A new directory in it is created with its
/// final mode, because an unprivileged `fchmod` can remove what it inherited.
pub fn has_inheritance(dir: BorrowedFd<'_>) -> EndpointResult<bool> {
    Inheritance::of(dir).map(|inheritance| inheritance.is_any()).map_err(|error| (EndpointSide::To, error))
}

/// Returns the final mode of a copy of the directory `original`, for which an `O_PATH` descriptor suffices.
pub fn final_mode(context: &CopyContext, original: BorrowedFd<'_>) -> EndpointResult<u32> {
    let mode = || {
        let stat = FileStat::of(original)?;
        Ok(mode_of(context, &stat, &CopiedRights::of(original, &stat)?))
    };
    mode().map_err(|error| (EndpointSide::From, error))
}

/// Applies the attributes to a new directory before it is filled. Returns the mode that is still to be set, if any.
pub fn apply_attributes(
    context: &CopyContext,
    pair: &DirPair,
    stat: &FileStat,
    path: &TreePath,
) -> Result<Option<u32>> {
    let rights = CopiedRights::of(pair.from.as_fd(), stat)
        .map_err(|error| context.endpoints.from.io_error("listxattr", &path.to_path_buf(), error))?;
    let io_error =
        |syscall, error: io::Error| context.endpoints.to.io_error(syscall, &path.to_path_buf(), error);
    rights
        .give_attributes(pair.from.as_fd(), pair.to.as_fd())
        .map_err(|error| io_error("setxattr", error))?;
    give_owner(context, pair, stat).map_err(|error| io_error("fchown", error))?;
    mode_of_new_directory(pair.to.as_fd(), mode_of(context, stat, &rights))
        .map_err(|error| io_error("getxattr", error))
}

/// Sets the mode that [`apply_attributes`] returned.
pub fn change_mode(context: &CopyContext, pair: &DirPair, mode: u32, path: &TreePath) -> Result<()> {
    set_mode(pair.to.as_fd(), mode)
        .map_err(|error| context.endpoints.to.io_error("fchmod", &path.to_path_buf(), error))
}

fn mode_of(context: &CopyContext, stat: &FileStat, rights: &CopiedRights) -> u32 {
    (rights.permissions | stat.mode() & STICKY) & context.policy.directory_mode
}

fn give_owner(context: &CopyContext, pair: &DirPair, stat: &FileStat) -> io::Result<()> {
    if context.policy.owner == OwnerPolicy::CurrentUser || stat.owner() == context.own_ids {
        return Ok(());
    }
    // The directory has its set-gid bit from its parent.
    chown_copy(pair.to.as_fd(), stat, pair.to.as_fd())
}
