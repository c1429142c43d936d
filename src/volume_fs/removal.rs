//! Removes a tree, with the help of another process for entries that other users own.

use super::remove_tree::TreeRemover;
use crate::error::Result;
use crate::sys::{ReachableBy, may_remove_of};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Deletes the entry `name` of `parent` and everything below it. A missing entry is not an error. Fails with `EBUSY` at
/// a mount below it, which stays, and if other processes keep adding entries. `shown` is the entry's path in messages.
pub fn remove_tree(parent: OwnedFd, name: &OsStr, shown: &Path) -> Result<()> {
    Removal::new(parent, name, shown).advance(None).map(drop)
}

/// A removal of a tree in progress; see [`remove_tree`].
#[derive(Debug)]
pub struct Removal {
    remover: TreeRemover,
    name: OsString,
    shown: PathBuf,
    help: Help,
}

/// What to try for directories of users whose IDs are granted to this process's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    /// Nothing.
    None,
    /// Starts another process that deletes the tree in a user namespace; see [`TreeRemover::remove_in_user_namespace`].
    UserNamespace(ReachableBy),
    /// That process was started already.
    Used,
}

impl Removal {
    /// Creates a removal that has not begun.
    pub fn new(parent: OwnedFd, name: &OsStr, shown: &Path) -> Self {
        let (name, shown) = (name.to_owned(), shown.to_owned());
        Removal { remover: TreeRemover::new(parent, &name), name, shown, help: Help::None }
    }

    /// Has another process delete what belongs to IDs that are granted to this process's user. `reach` says who may
    /// change the tree until it is deleted.
    pub fn with_granted_ids(self, reach: ReachableBy) -> Self {
        Removal { help: Help::UserNamespace(reach), ..self }
    }

    /// Returns whether another process was started.
    pub fn used_helper_process(&self) -> bool {
        self.help == Help::Used
    }

    /// Continues until everything is removed. With `until`, returns `false` at about that time, or before a long step,
    /// if there is more to remove.
    pub fn advance(&mut self, until: Option<Instant>) -> Result<bool> {
        let (error, owner) = match self.remover.advance(&self.shown, until) {
            Ok(is_gone) => return Ok(is_gone),
            Err(failure) => failure,
        };
        match self.help {
            Help::UserNamespace(reach) if owner.is_some_and(may_remove_of) => {
                self.remover.restart(&self.name);
                if until.is_some() {
                    return Ok(false);
                }
                self.help = Help::Used;
                self.remover.remove_in_user_namespace(&self.name, reach).map_err(|_| error)?;
                self.remover.advance(&self.shown, None).map_err(|(error, _)| error)
            }
            _ => Err(error),
        }
    }
}
