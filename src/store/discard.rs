//! Deleting a volume's directory for good.

use crate::content::purge;
use crate::error::Result;
use crate::sys::{Dir, Subvolume};
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

/// Deletes an entry of the staging or trash directory and everything below it, and forgets the limit of what was
/// a subvolume. It is emptied as any directory is, so that a mount in it, or a file that must stay, is left alone.
pub fn discard(dir: &Dir, entry: &str, shown: &Path) -> Result<()> {
    let subvolume = dir.open_child(entry).ok().and_then(|child| Subvolume::of_root(child.as_fd()).ok()?);
    purge(dir.try_clone()?, OsStr::new(entry), shown)?;
    if let Some(subvolume) = subvolume {
        let _where_the_kernel_does_it_itself = subvolume.forget_quota(dir.as_fd());
    }
    Ok(())
}
