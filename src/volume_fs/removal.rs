//! Removes a tree, with the help of another process for entries that other users own.

use super::remove_tree::TreeRemover;
use crate::error::{Errno, Error, Result};
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::{ForeignTree, ReachableBy, may_remove_of, remove_in_user_namespace};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The most entries that one helper process deletes. Their names are its arguments, for which 128 KiB always suffice.
const MAX_NAMES_PER_PROCESS: usize = 256;

/// The most entries of a directory that are listed at once for such processes.
const MAX_NAMES_PER_LISTING: usize = 4096;

/// How often they are listed. A guest that keeps adding entries must not keep the removal running for ever.
const MAX_LISTINGS: usize = 1000;

/// Deletes the entry `name` of `parent` and everything below it. A missing entry is not an error. Fails with `EBUSY` at
/// a mount below it, which stays, and if other processes keep adding entries. `shown` is the entry's path in messages.
pub fn remove_tree(parent: OwnedFd, name: &OsStr, shown: &Path) -> Result<()> {
    Removal::new(parent, name, shown).advance(None).map(drop)
}

/// A removal of a tree in progress; see [`remove_tree`].
#[derive(Debug)]
pub struct Removal {
    remover: TreeRemover,
    /// The entry to remove. `None` if everything in the outermost directory is.
    name: Option<OsString>,
    shown: PathBuf,
    help: Help,
    /// See [`ForeignTree::scope`].
    scope: Option<OwnedFd>,
    /// See [`ForeignTree::lock`].
    lock: Option<OwnedFd>,
}

/// What to try for directories of users whose IDs are granted to this process's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Help {
    /// Nothing.
    None,
    /// Starts another process that deletes the tree in a user namespace; see [`remove_in_user_namespace`].
    UserNamespace(ReachableBy),
    /// That process was started already.
    Used,
}

impl Removal {
    /// Creates a removal that has not begun.
    pub fn new(parent: OwnedFd, name: &OsStr, shown: &Path) -> Self {
        Removal::by(TreeRemover::new(parent, name), Some(name), shown)
    }

    /// Creates a removal of everything below an open directory, which itself stays.
    pub fn of_content(top: OwnedFd, shown: &Path) -> Self {
        Removal::by(TreeRemover::of_content(top), None, shown)
    }

    fn by(remover: TreeRemover, name: Option<&OsStr>, shown: &Path) -> Self {
        let (name, shown) = (name.map(OsStr::to_owned), shown.to_owned());
        Removal { remover, name, shown, help: Help::None, scope: None, lock: None }
    }

    /// Has another process delete what belongs to IDs that are granted to this process's user, in a volume that guests
    /// may change. They cannot move anything out of the directory `root`.
    pub fn with_granted_ids_in_volume(self, root: OwnedFd) -> Self {
        Removal { help: Help::UserNamespace(ReachableBy::Guests), scope: Some(root), ..self }
    }

    /// Has another process delete what belongs to IDs that are granted to this process's user, in a tree that no guest
    /// finds.
    pub fn with_granted_ids(self) -> Self {
        Removal { help: Help::UserNamespace(ReachableBy::ThisProgram), ..self }
    }

    /// Has the other process keep a locked file locked until it has ended.
    pub fn keeping_locked(self, lock: OwnedFd) -> Self {
        Removal { lock: Some(lock), ..self }
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
            Help::UserNamespace(reachable_by) if owner.is_some_and(may_remove_of) => {
                self.remover.restart(self.name.as_deref());
                if until.is_some() {
                    return Ok(false);
                }
                self.help = Help::Used;
                self.remove_in_user_namespace(reachable_by, error)?;
                self.remover.advance(&self.shown, None).map_err(|(error, _)| error)
            }
            _ => Err(error),
        }
    }

    /// Fails with `EBUSY` if a mount is in the way, and otherwise with `error`, which says what the caller can do.
    fn remove_in_user_namespace(&self, reachable_by: ReachableBy, error: Error) -> Result<()> {
        let Some(dir) = self.remover.outermost_dir() else { return Ok(()) };
        let (scope, lock) = (self.scope.as_ref().map(AsFd::as_fd), self.lock.as_ref().map(AsFd::as_fd));
        let remove = |names: &[OsString]| {
            names.chunks(MAX_NAMES_PER_PROCESS).try_for_each(|names| {
                remove_in_user_namespace(ForeignTree { dir, names, reachable_by, scope, lock })
            })
        };
        let remove_all = || {
            for _ in 0..MAX_LISTINGS {
                let names = self.remover.outermost_names(MAX_NAMES_PER_LISTING)?;
                remove(&names)?;
                if names.len() < MAX_NAMES_PER_LISTING {
                    break;
                }
            }
            Ok(())
        };
        let removed = match &self.name {
            Some(name) => remove(std::slice::from_ref(name)),
            None => remove_all(),
        };
        match removed {
            Err(refused) if refused.raw_os_error() == Some(Errno::EBUSY as i32) => {
                Err(Error::file_system("rm", &self.shown, refused))
            }
            result => result.map_err(|_| error),
        }
    }
}
