//! Deletes directories of volumes from the staging and trash directories.

use super::name_locks::WorkLock;
use crate::error::Result;
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::{Dir, Subvolume};
use crate::volume_fs::Removal;
use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

/// Deletes an entry of the staging or trash directory and everything below it. Also deletes files of ids that this
/// process's user was granted.
///
/// A subvolume is emptied like a directory, so that a mount in it, or an undeletable file, stays. Then its limit is
/// deleted.
pub fn delete_tree(dir: &Dir, entry: &str, shown: &Path) -> Result<()> {
    delete_tree_with_helper(dir, entry, shown, &mut true, None)
}

/// Deletes an entry like [`delete_tree`].
///
/// Only if `may_start_helper` is true, a helper process is started for files of ids that this process's user was granted.
/// Sets `may_start_helper` to false if that process could not delete everything. The
/// process keeps `work`.
pub fn delete_tree_with_helper(
    dir: &Dir,
    entry: &str,
    shown: &Path,
    may_start_helper: &mut bool,
    work: Option<&WorkLock>,
) -> Result<()> {
    let mut deletion = TreeDeletion::new(dir, entry, shown, *may_start_helper)?;
    if let Some(work) = work {
        deletion = deletion.keeping(work)?;
    }
    let deleted = deletion.go_on(None);
    *may_start_helper &= deleted.is_ok() || !deletion.removal.used_helper_process();
    deleted.map(drop)
}

/// A deletion in slices; see [`delete_tree`].
#[derive(Debug)]
pub struct TreeDeletion {
    dir: OwnedFd,
    subvolume: Option<Subvolume>,
    removal: Removal,
}

impl TreeDeletion {
    /// Prepares a deletion. Only if `may_start_helper` is true, a helper process is started for files of ids that this
    /// process's user was granted.
    pub fn new(dir: &Dir, entry: &str, shown: &Path, may_start_helper: bool) -> Result<Self> {
        let subvolume =
            dir.open_child(entry).ok().and_then(|child| Subvolume::of_root(child.as_fd()).ok()?);
        let mut removal = Removal::new(dir.try_clone()?, OsStr::new(entry), shown);
        if may_start_helper {
            removal = removal.with_granted_ids();
        }
        Ok(TreeDeletion { dir: dir.try_clone()?, subvolume, removal })
    }

    /// Prepares the deletion of everything below a volume's root, which itself stays. Guests may reach it there.
    pub fn of_content(root: &Dir, shown: &Path) -> Result<Self> {
        let removal =
            Removal::of_content(root.try_clone()?, shown).with_granted_ids_in_volume(root.try_clone()?);
        Ok(TreeDeletion { dir: root.try_clone()?, subvolume: None, removal })
    }

    /// Has each helper process keep the work lock until it has ended, also if this process ends first.
    pub fn keeping(self, work: &WorkLock) -> Result<Self> {
        Ok(TreeDeletion { removal: self.removal.keeping_locked(work.duplicate()?), ..self })
    }

    /// Continues until everything is deleted. With `until`, returns `false` at about that time, or before a long
    /// step, if more remains.
    pub fn go_on(&mut self, until: Option<Instant>) -> Result<bool> {
        let is_gone = self.removal.advance(until)?;
        if let Some(subvolume) = self.subvolume.take_if(|_| is_gone) {
            let _where_the_kernel_does_it_itself = subvolume.delete_qgroup(self.dir.as_fd());
        }
        Ok(is_gone)
    }
}
