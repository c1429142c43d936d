//! Deleting a volume's directory for good.

use crate::content::Removal;
use crate::error::Result;
use crate::sys::{Dir, Reach, Subvolume};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

/// Deletes an entry of the staging or trash directory and everything below it, and forgets the limit of what was
/// a subvolume. It is emptied as any directory is, so that a mount in it, or a file that must stay, is left alone.
/// What belongs to ids that this process's user was granted is deleted too.
pub fn discard(dir: &Dir, entry: &str, shown: &Path) -> Result<()> {
    discard_with_help(dir, entry, shown, &mut true)
}

/// The same. Only if `may_help` is true, another process is started for what belongs to ids that this process's user was
/// granted; it is false afterwards if that process could not delete everything.
pub fn discard_with_help(dir: &Dir, entry: &str, shown: &Path, may_help: &mut bool) -> Result<()> {
    let subvolume = dir.open_child(entry).ok().and_then(|child| Subvolume::of_root(child.as_fd()).ok()?);
    let mut removal = Removal::new(dir.try_clone()?, OsStr::new(entry), shown);
    if *may_help {
        removal = removal.with_granted_ids(Reach::ThisProgram);
    }
    let removed = removal.go_on(None);
    *may_help &= removed.is_ok() || !removal.was_helped();
    removed?;
    if let Some(subvolume) = subvolume {
        let _where_the_kernel_does_it_itself = subvolume.forget_quota(dir.as_fd());
    }
    Ok(())
}
