//! What a copy of a file gets besides content: owner, rights and attributes.

use super::entry::CopyTask;
use super::policy::OwnerPolicy;
use crate::error::Result;
use crate::sys::{CopiedRights, FileStat, Inheritance, inherited_group, keep_acl, keep_attributes};
use nix::sys::stat::{Mode, fchmod};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::fchown;

/// The mode of a file whose content is not whole yet.
pub const UNFINISHED: u32 = 0o600;

/// Files up to this length are whole a moment after they are made.
const SHORT: u64 = 64 << 10;

const PERMISSIONS: u32 = 0o777;

/// What a copy gets of an original that was found to be `facts`.
#[derive(Debug)]
pub struct Settlement {
    facts: FileStat,
    rights: CopiedRights,
}

impl Settlement {
    pub fn of(errand: &CopyTask<'_>, original: BorrowedFd<'_>, facts: &FileStat) -> Result<Self> {
        let rights = CopiedRights::of(original, facts)
            .map_err(|error| errand.context.sides.from.refused("listxattr", &errand.path(), error))?;
        Ok(Settlement { facts: *facts, rights })
    }

    /// The permission bits of the copy, unless a directory or another file's ACL leaves less.
    pub fn permissions(&self) -> u32 {
        self.rights.permissions
    }

    /// The mode that a new copy is made with, less the umask. A short one that stays ours begins with its own, which
    /// saves most of them a change that the file system would write down.
    pub fn first_mode(&self, errand: &CopyTask<'_>) -> u32 {
        let is_whole_soon = self.facts.length() <= SHORT && !self.rights.has_attributes();
        match is_whole_soon && !self.is_given_away(errand) {
            true => self.rights.permissions,
            false => UNFINISHED,
        }
    }

    /// Settles a copy that was made in its place with [`first_mode`](Settlement::first_mode).
    pub fn settle_new(&self, errand: &CopyTask<'_>, original: BorrowedFd<'_>, to: &File) -> Result<()> {
        let refused = |syscall, error| errand.context.sides.to.refused(syscall, &errand.path(), error);
        let to = to.as_fd();
        self.rights.give_attributes(original, to).map_err(|error| refused("setxattr", error))?;
        self.give_owner(errand, to).map_err(|error| refused("fchown", error))?;
        let permissions = self.rights.permissions;
        let now = FileStat::of(to).map_err(|error| refused("fstat", error))?.mode() & PERMISSIONS;
        if now == permissions {
            return Ok(());
        }
        let inheritance = Inheritance::of(errand.to).map_err(|error| refused("getxattr", error))?;
        match inheritance.has_acl() {
            // The directory's ACL made this of it.
            true if self.first_mode(errand) == permissions => Ok(()),
            true => inheritance.give_mode(to, permissions).map_err(|error| refused("setxattr", error)),
            false => fchmod(to, Mode::from_bits_truncate(permissions))
                .map_err(|errno| refused("fchmod", errno.into())),
        }
    }

    /// Settles a copy that was made elsewhere and takes the place of `old`, or of a link, of which nothing is kept.
    pub fn settle_replacing(
        &self,
        errand: &CopyTask<'_>,
        original: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        old: Option<&OwnedFd>,
    ) -> io::Result<()> {
        let permissions = self.rights.permissions;
        let inheritance = Inheritance::of(errand.to)?;
        if let Some(old) = old {
            keep_attributes(old.as_fd(), to)?;
        }
        self.rights.give_attributes(original, to)?;
        inheritance.give_group(to)?;
        self.give_owner(errand, to)?;
        match old {
            Some(old) => keep_acl(old.as_fd(), to, permissions),
            None => inheritance.give_mode(to, permissions),
        }
    }

    /// Whether the copy is to be somebody else's.
    fn is_given_away(&self, errand: &CopyTask<'_>) -> bool {
        errand.context.rules.owner == OwnerPolicy::Preserve && self.facts.owner() != errand.context.ours
    }

    /// Gives the copy its owner, and its group where the directory gave it none. An unprivileged process cannot give files
    /// away.
    fn give_owner(&self, errand: &CopyTask<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
        if !self.is_given_away(errand) {
            return Ok(());
        }
        let (user, group) = self.facts.owner();
        let inherited = inherited_group(errand.to)?;
        match fchown(to, Some(user), Some(inherited.unwrap_or(group))) {
            Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(error),
            _ => Ok(()),
        }
    }
}
