//! Copies entries that are not directories: regular files, and symbolic links as links.

use super::dir_pair::DirPair;
use super::file::{copy_file, open_found};
use super::job::CopyContext;
use super::link::stays_within;
use super::policy::{OwnerPolicy, SymlinkPolicy};
use super::walk::SourceEntry;
use crate::error::{Errno, Result};
use crate::sys::ext::OsStrExt;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::{
    EntryKind, FileStat, TransferBuffer, chown_link, create_link, link_target, open_if_regular, open_o_path,
    stat_at, unlink_entry,
};
use crate::volume_fs::new_file::Creation;
use crate::volume_fs::quota::reserve::{Reservation, SpaceRequest};
use crate::volume_fs::walk::cursor::TreePath;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

/// How many times to try a step when a destination entry is created and removed in between.
pub const MAX_ATTEMPTS: usize = 16;

/// The length in bytes of a link target from which it takes a block. Most file systems store a shorter one in the
/// inode.
const MIN_BLOCK_TARGET_BYTES: usize = 60;

/// Entries of one directory that are copied by one thread.
pub struct TaskBatch {
    pub pair: Arc<DirPair>,
    /// The directory's path from the top.
    pub dir_path: Arc<TreePath>,
    /// The directory's depth below the top.
    pub depth: usize,
    pub entries: Vec<SourceEntry>,
}

/// The destination of one entry, and its path in messages.
pub struct CopyTask<'e> {
    pub context: &'e CopyContext,
    pub to: BorrowedFd<'e>,
    pub name: &'e OsStr,
    pub dir_path: &'e Arc<TreePath>,
    /// The entry's name on the path from the top; empty for the top itself.
    pub below: &'e OsStr,
}

impl CopyTask<'_> {
    pub fn path(&self) -> PathBuf {
        match self.below.is_empty() {
            true => PathBuf::new(),
            false => self.dir_path.join(self.below),
        }
    }

    /// Returns the destination's path for messages.
    pub fn shown(&self) -> String {
        self.context.endpoints.to.path_of(&self.path()).to_string_lossy().into_owned()
    }

    /// Passes the commit point if this entry is all there is to copy.
    pub fn commit(&self) -> Result<()> {
        match self.below.is_empty() {
            true => self.context.policy.cancel.commit(),
            false => self.context.policy.cancel.check(),
        }
    }

    pub fn done(&self) {
        self.context.progress.add_file(self.dir_path, self.below);
    }
}

pub fn copy_batch(context: &CopyContext, buffer: &mut TransferBuffer, batch: TaskBatch) -> Result<()> {
    for (name, kind) in &batch.entries {
        context.policy.yield_turn()?;
        let to = batch.pair.to.as_fd();
        let task = CopyTask { context, to, name, dir_path: &batch.dir_path, below: name };
        let opens_at_once = *kind == EntryKind::File && !context.endpoints.from.is_in_a_volume();
        if opens_at_once && let Some((file, stat)) = open_if_regular(batch.pair.from.as_fd(), name) {
            copy_file(&task, buffer, file, &stat)?;
            continue;
        }
        let (found, stat) = match open_o_path(batch.pair.from.as_fd(), name) {
            Ok(found) => found,
            // TOCTOU: the entry was removed since it was listed. That equals a copy that began later.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(context.endpoints.from.io_error("open", &task.path(), error)),
        };
        match stat.kind() {
            EntryKind::File => copy_file(&task, buffer, open_found(&task, found.as_fd())?, &stat)?,
            EntryKind::Link => copy_link(&task, &found, &stat, batch.depth)?,
            EntryKind::Special => return Err(not_copied(&task)),
            EntryKind::Directory => {
                let problem = "became a directory while its tree was copied";
                return Err(context.endpoints.from.io_error_because(&task.path(), Errno::EBUSY, problem));
            }
        }
    }
    Ok(())
}

/// Returns the error for a FIFO, socket or device.
pub fn not_copied(task: &CopyTask<'_>) -> crate::error::Error {
    task.context.endpoints.from.io_error_because(&task.path(), Errno::ENOTSUP, "not a regular file")
}

fn copy_link(task: &CopyTask<'_>, found: &OwnedFd, stat: &FileStat, depth: usize) -> Result<()> {
    let CopyContext { endpoints, policy, progress, .. } = task.context;
    let io_error = |syscall, error| endpoints.to.io_error(syscall, &task.path(), error);
    let target = link_target(found.as_fd())
        .map_err(|error| endpoints.from.io_error("readlink", &task.path(), error))?;
    if policy.links != SymlinkPolicy::Keep && !stays_within(depth, target.as_bytes()) {
        if policy.links == SymlinkPolicy::Refuse {
            return Err(endpoints.from.escape_error(&task.path()));
        }
        progress.add_skipped_link();
        return Ok(());
    }
    let length = if target.len() < MIN_BLOCK_TARGET_BYTES { 0 } else { target.len() as u64 };
    let mut create = || {
        for attempt in 0..MAX_ATTEMPTS {
            let creation = Creation::begin();
            match create_link(task.to, task.name, &target) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => remove_old(task, stat)?,
                created => {
                    created.map_err(|error| io_error("symlink", error))?;
                    // A link that replaced another entry stays, even if the copy fails.
                    if attempt == 0
                        && let Some(record) = &task.context.record
                    {
                        record.add_entry(&creation, task.to, task.name, EntryKind::Link);
                    }
                    return Ok(());
                }
            }
        }
        Err(io_error("symlink", Errno::EBUSY.into()))
    };
    let is_new = || stat_at(task.to, task.name).is_err();
    match length {
        // Replacing an entry takes no space.
        0 if !policy.is_limited() || !is_new() => create()?,
        _ => policy.reserve(
            || task.shown(),
            SpaceRequest::whole(length, 0),
            &mut Reservation::default(),
            &mut create,
        )?,
    }
    if policy.owner == OwnerPolicy::Preserve && stat.owner() != task.context.own_ids {
        chown_link(task.to, task.name, stat).map_err(|error| io_error("lchown", error))?;
    }
    task.done();
    Ok(())
}

/// Removes a file or another link, so that a link can be created in its place.
fn remove_old(task: &CopyTask<'_>, stat: &FileStat) -> Result<()> {
    let io_error = |syscall, error| task.context.endpoints.to.io_error(syscall, &task.path(), error);
    match stat_at(task.to, task.name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error("stat", error)),
        Ok(old) => {
            refuse_to_replace(task, &old, stat)?;
            unlink_entry(task.to, task.name).map_err(|error| io_error("unlink", error))
        }
    }
}

/// Fails if a copy must not replace the entry `old`.
pub fn refuse_to_replace(task: &CopyTask<'_>, old: &FileStat, stat: &FileStat) -> Result<()> {
    let because = |errno, problem| task.context.endpoints.to.io_error_because(&task.path(), errno, problem);
    match old.kind() {
        EntryKind::Directory => Err(because(Errno::EISDIR, "a directory is replaced only by a directory")),
        EntryKind::Special => Err(because(Errno::ENOTSUP, "not a regular file")),
        _ if old.id() == stat.id() => Err(because(Errno::EINVAL, "source and destination are the same file")),
        _ => Ok(()),
    }
}
