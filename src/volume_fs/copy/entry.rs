//! Copying what is no directory: a regular file, or a symbolic link as a link.

use super::dir_pair::DirPair;
use super::file::{copy_file, open_found};
use super::job::CopyContext;
use super::link::stays_within;
use super::policy::{OwnerPolicy, SymlinkPolicy};
use super::walk::SourceEntry;
use crate::error::Result;
use crate::sys::{
    EntryKind, FileStat, TransferBuffer, create_link, give_link, link_target, open_if_regular, open_o_path,
    stat_at, unlink_entry,
};
use crate::volume_fs::walk::cursor::TreePath;
use crate::volume_fs::{Reservation, SpaceRequest};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// How often what comes and goes at the destination is tried again.
pub const RETRIES: usize = 16;

/// A link's target shorter than this lies in the inode of most file systems and takes no block.
const SHORT_TARGET: usize = 60;

/// Entries of one directory.
pub struct TaskBatch {
    pub pair: Arc<DirPair>,
    /// The directory's path from the top.
    pub prefix: Arc<TreePath>,
    /// How many levels it is below the top.
    pub depth: usize,
    pub entries: Vec<SourceEntry>,
}

/// Where one entry goes, and how messages name it.
pub struct CopyTask<'e> {
    pub context: &'e CopyContext,
    pub to: BorrowedFd<'e>,
    pub name: &'e OsStr,
    pub prefix: &'e Arc<TreePath>,
    /// The name on the path from the top; empty for the top itself.
    pub below: &'e OsStr,
}

impl CopyTask<'_> {
    pub fn path(&self) -> PathBuf {
        match self.below.is_empty() {
            true => PathBuf::new(),
            false => self.prefix.join(self.below),
        }
    }

    /// The destination's path in messages.
    pub fn shown(&self) -> String {
        self.context.sides.to.path_of(&self.path()).to_string_lossy().into_owned()
    }

    /// Passes the point of no return where this is all there is to copy.
    pub fn commit(&self) -> Result<()> {
        match self.below.is_empty() {
            true => self.context.rules.cancel.commit(),
            false => self.context.rules.cancel.check(),
        }
    }

    pub fn done(&self) {
        self.context.progress.add_file(self.prefix, self.below);
    }
}

pub fn copy_batch(context: &CopyContext, buffer: &mut TransferBuffer, batch: TaskBatch) -> Result<()> {
    for (name, kind) in &batch.entries {
        context.rules.go_on()?;
        let to = batch.pair.to.as_fd();
        let errand = CopyTask { context, to, name, prefix: &batch.prefix, below: name };
        let opens_at_once = *kind == EntryKind::File && !context.sides.from.is_in_a_volume();
        if opens_at_once && let Some((file, facts)) = open_if_regular(batch.pair.from.as_fd(), name) {
            copy_file(&errand, buffer, file, &facts)?;
            continue;
        }
        let (found, facts) = match open_o_path(batch.pair.from.as_fd(), name) {
            Ok(found) => found,
            // Removed since it was listed, as if the copy had begun later.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(context.sides.from.refused("open", &errand.path(), error)),
        };
        match facts.kind() {
            EntryKind::File => copy_file(&errand, buffer, open_found(&errand, found.as_fd())?, &facts)?,
            EntryKind::Link => copy_link(&errand, &found, &facts, batch.depth)?,
            EntryKind::Special => return Err(not_copied(&errand)),
            EntryKind::Directory => {
                let problem = "became a directory while its tree was copied";
                return Err(context.sides.from.refused_because(&errand.path(), Errno::EBUSY, problem));
            }
        }
    }
    Ok(())
}

/// The refusal of a FIFO, socket or device.
pub fn not_copied(errand: &CopyTask<'_>) -> crate::error::Error {
    errand.context.sides.from.refused_because(&errand.path(), Errno::ENOTSUP, "not a regular file")
}

fn copy_link(errand: &CopyTask<'_>, found: &OwnedFd, facts: &FileStat, depth: usize) -> Result<()> {
    let CopyContext { sides, rules, progress, .. } = errand.context;
    let refused = |syscall, error| sides.to.refused(syscall, &errand.path(), error);
    let target =
        link_target(found.as_fd()).map_err(|error| sides.from.refused("readlink", &errand.path(), error))?;
    if rules.links != SymlinkPolicy::Keep && !stays_within(depth, target.as_bytes()) {
        if rules.links == SymlinkPolicy::Refuse {
            return Err(sides.from.escape(&errand.path()));
        }
        progress.add_skipped_link();
        return Ok(());
    }
    let length = if target.len() < SHORT_TARGET { 0 } else { target.len() as u64 };
    let mut create = || {
        for attempt in 0..RETRIES {
            match create_link(errand.to, errand.name, &target) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => remove_old(errand, facts)?,
                created => {
                    created.map_err(|error| refused("symlink", error))?;
                    // One that took the place of another stays, also if the copy fails.
                    if attempt == 0
                        && let Some(record) = &errand.context.record
                    {
                        record.add_entry(errand.to, errand.name, EntryKind::Link);
                    }
                    return Ok(());
                }
            }
        }
        Err(refused("symlink", Errno::EBUSY.into()))
    };
    let is_new = || stat_at(errand.to, errand.name).is_err();
    match length {
        // What takes the place of another takes no room.
        0 if !rules.is_limited() || !is_new() => create()?,
        _ => rules.admit(
            || errand.shown(),
            SpaceRequest::whole(length, 0),
            &mut Reservation::default(),
            &mut create,
        )?,
    }
    if rules.owner == OwnerPolicy::Preserve && facts.owner() != errand.context.ours {
        give_link(errand.to, errand.name, facts).map_err(|error| refused("lchown", error))?;
    }
    errand.done();
    Ok(())
}

/// Makes room for a link where a file or another link stands.
fn remove_old(errand: &CopyTask<'_>, facts: &FileStat) -> Result<()> {
    let refused = |syscall, error| errand.context.sides.to.refused(syscall, &errand.path(), error);
    match stat_at(errand.to, errand.name) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused("stat", error)),
        Ok(old) => {
            refuse_to_replace(errand, &old, facts)?;
            unlink_entry(errand.to, errand.name).map_err(|error| refused("unlink", error))
        }
    }
}

/// Refuses what a copy does not take the place of.
pub fn refuse_to_replace(errand: &CopyTask<'_>, old: &FileStat, facts: &FileStat) -> Result<()> {
    let because = |errno, problem| errand.context.sides.to.refused_because(&errand.path(), errno, problem);
    match old.kind() {
        EntryKind::Directory => Err(because(Errno::EISDIR, "a directory is not replaced by what is none")),
        EntryKind::Special => Err(because(Errno::ENOTSUP, "not a regular file")),
        _ if old.id() == facts.id() => {
            Err(because(Errno::EINVAL, "source and destination are the same file"))
        }
        _ => Ok(()),
    }
}
