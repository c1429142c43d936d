//! Deleting a volume's directory for good.

use crate::error::Result;
use crate::sys::{Dir, Reach, Subvolume};
use crate::volume_fs::Removal;
use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

/// Deletes an entry of the staging or trash directory and everything below it, and forgets the limit of what was
/// a subvolume. It is emptied as any directory is, so that a mount in it, or a file that must stay, is left alone.
/// What belongs to ids that this process's user was granted is deleted too.
pub fn discard(dir: &Dir, entry: &str, shown: &Path) -> Result<()> {
    discard_with_help(dir, entry, shown, &mut true)
}

/// The same. Only if `may_help` is true, another process is started for what belongs to ids that this process's user was
/// granted; it is false afterwards if that process could not delete everything.
pub fn discard_with_help(dir: &Dir, entry: &str, shown: &Path, may_help: &mut bool) -> Result<()> {
    let mut discarding = Discarding::new(dir, entry, shown, *may_help)?;
    let discarded = discarding.go_on(None);
    *may_help &= discarded.is_ok() || !discarding.removal.was_helped();
    discarded.map(drop)
}

/// A deletion in slices; see [`discard`].
#[derive(Debug)]
pub struct Discarding {
    dir: OwnedFd,
    subvolume: Option<Subvolume>,
    removal: Removal,
}

impl Discarding {
    /// A deletion that has not begun. Only if `may_help` is true, another process is started for what belongs to ids that
    /// this process's user was granted.
    pub fn new(dir: &Dir, entry: &str, shown: &Path, may_help: bool) -> Result<Self> {
        let subvolume =
            dir.open_child(entry).ok().and_then(|child| Subvolume::of_root(child.as_fd()).ok()?);
        let mut removal = Removal::new(dir.try_clone()?, OsStr::new(entry), shown);
        if may_help {
            removal = removal.with_granted_ids(Reach::ThisProgram);
        }
        Ok(Discarding { dir: dir.try_clone()?, subvolume, removal })
    }

    /// Deletes on until everything is gone. With `until` it returns `false` at about that time, or before what takes long,
    /// if there is more to delete.
    pub fn go_on(&mut self, until: Option<Instant>) -> Result<bool> {
        let is_gone = self.removal.go_on(until)?;
        if let Some(subvolume) = self.subvolume.take_if(|_| is_gone) {
            let _where_the_kernel_does_it_itself = subvolume.forget_quota(self.dir.as_fd());
        }
        Ok(is_gone)
    }
}
