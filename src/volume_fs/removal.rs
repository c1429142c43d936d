//! The removal of a tree, with the help of another process for what other users own in it.

use super::remove_tree::TreeRemover;
use crate::error::Result;
use crate::sys::{Reach, may_remove_of};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Deletes the entry `name` of `parent` and everything below it; a missing one is fine. A mount below is left
/// alone and is `EBUSY`, and so is a tree that others keep filling. `shown` is the entry's path in messages.
pub fn purge(parent: OwnedFd, name: &OsStr, shown: &Path) -> Result<()> {
    Removal::new(parent, name, shown).go_on(None).map(drop)
}

/// The removal of a tree; see [`purge`].
#[derive(Debug)]
pub struct Removal {
    purge: TreeRemover,
    name: OsString,
    shown: PathBuf,
    help: Help,
}

/// What is tried where users whose ids this process's user is granted own directories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    /// Nothing.
    None,
    /// Another process deletes the tree in a user name space; see [`TreeRemover::remove_in_user_namespace`].
    UserNamespace(Reach),
    /// That process was started.
    Used,
}

impl Removal {
    /// A removal that has not begun.
    pub fn new(parent: OwnedFd, name: &OsStr, shown: &Path) -> Self {
        let (name, shown) = (name.to_owned(), shown.to_owned());
        Removal { purge: TreeRemover::new(parent, &name), name, shown, help: Help::None }
    }

    /// Has another process delete what belongs to ids that this process's user is granted; `reach` says who may change the
    /// tree until it is deleted.
    pub fn with_granted_ids(self, reach: Reach) -> Self {
        Removal { help: Help::UserNamespace(reach), ..self }
    }

    /// Whether another process was started.
    pub fn was_helped(&self) -> bool {
        self.help == Help::Used
    }

    /// Removes on until everything is gone. With `until` it returns `false` at about that time, or before what takes long,
    /// if there is more to remove.
    pub fn go_on(&mut self, until: Option<Instant>) -> Result<bool> {
        let (error, owner) = match self.purge.go_on(&self.shown, until) {
            Ok(is_gone) => return Ok(is_gone),
            Err(refused) => refused,
        };
        match self.help {
            Help::UserNamespace(reach) if owner.is_some_and(may_remove_of) => {
                self.purge.begin_again(&self.name);
                if until.is_some() {
                    return Ok(false);
                }
                self.help = Help::Used;
                self.purge.remove_in_user_namespace(&self.name, reach).map_err(|_| error)?;
                self.purge.go_on(&self.shown, None).map_err(|(error, _)| error)
            }
            _ => Err(error),
        }
    }
}
