//! Applies owner, rights and attributes to the copy of a file.

use super::entry::CopyTask;
use super::policy::OwnerPolicy;
use crate::error::Result;
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::{CopiedRights, FileStat, Inheritance, chown_copy, keep_acl, keep_attributes, set_mode};
use std::fs::File;
use std::io;

/// The mode of a file whose content is not complete yet.
pub const PARTIAL_FILE_MODE: u32 = 0o600;

/// The length in bytes up to which a file is complete a moment after it is created.
const SMALL_FILE_BYTES: u64 = 64 << 10;

const PERMISSIONS: u32 = 0o777;

/// The attributes that a copy gets from its original.
#[derive(Debug)]
pub struct CopiedAttributes {
    stat: FileStat,
    rights: CopiedRights,
}

impl CopiedAttributes {
    pub fn of(task: &CopyTask<'_>, original: BorrowedFd<'_>, stat: &FileStat) -> Result<Self> {
        let rights = CopiedRights::of(original, stat)
            .map_err(|error| task.context.endpoints.from.io_error("listxattr", &task.path(), error))?;
        Ok(CopiedAttributes { stat: *stat, rights })
    }

    /// Returns the permission bits of the copy, before an ACL of the directory or the old file limits them.
    pub fn permissions(&self) -> u32 {
        self.rights.permissions
    }

    /// Returns the mode, less the umask, with which a new copy is created. A short file that this process owns gets its
    /// final mode at once. That saves most copies a change, which the file system would log.
    pub fn initial_mode(&self, task: &CopyTask<'_>) -> u32 {
        let is_whole_soon = self.stat.length() <= SMALL_FILE_BYTES && !self.rights.has_attributes();
        match is_whole_soon && !self.changes_owner(task) {
            true => self.rights.permissions,
            false => PARTIAL_FILE_MODE,
        }
    }

    /// Applies the attributes to a copy that was created at its destination with
    /// [`initial_mode`](CopiedAttributes::initial_mode).
    pub fn apply_to_new(&self, task: &CopyTask<'_>, original: BorrowedFd<'_>, to: &File) -> Result<()> {
        let io_error = |syscall, error| task.context.endpoints.to.io_error(syscall, &task.path(), error);
        let to = to.as_fd();
        self.rights.give_attributes(original, to).map_err(|error| io_error("setxattr", error))?;
        self.give_owner(task, to).map_err(|error| io_error("fchown", error))?;
        let permissions = self.rights.permissions;
        let now = FileStat::of(to).map_err(|error| io_error("fstat", error))?.mode() & PERMISSIONS;
        if now == permissions {
            return Ok(());
        }
        let inheritance = Inheritance::of(task.to).map_err(|error| io_error("getxattr", error))?;
        match inheritance.has_acl() {
            // The directory's default ACL changed the mode.
            true if self.initial_mode(task) == permissions => Ok(()),
            true => inheritance.give_mode(to, permissions).map_err(|error| io_error("setxattr", error)),
            false => set_mode(to, permissions).map_err(|error| io_error("fchmod", error)),
        }
    }

    /// Applies the attributes to a temp file that replaces `old`, or a link if that is `None`. A link's own attributes
    /// are not kept.
    pub fn apply_to_replacement(
        &self,
        task: &CopyTask<'_>,
        original: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        old: Option<&OwnedFd>,
    ) -> io::Result<()> {
        let permissions = self.rights.permissions;
        let inheritance = Inheritance::of(task.to)?;
        if let Some(old) = old {
            keep_attributes(old.as_fd(), to)?;
        }
        self.rights.give_attributes(original, to)?;
        inheritance.give_group(to)?;
        self.give_owner(task, to)?;
        match old {
            Some(old) => keep_acl(old.as_fd(), to, permissions),
            None => inheritance.give_mode(to, permissions),
        }
    }

    /// Returns whether the copy gets an owner other than this process.
    fn changes_owner(&self, task: &CopyTask<'_>) -> bool {
        task.context.policy.owner == OwnerPolicy::Preserve && self.stat.owner() != task.context.own_ids
    }

    fn give_owner(&self, task: &CopyTask<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        match self.changes_owner(task) {
            true => chown_copy(to, &self.stat, task.to),
            false => Ok(()),
        }
    }
}
