//! Deleting a volume's directory for good.

use crate::content::purge;
use crate::error::Result;
use crate::sys::{Dir, Subvolume, remove_in_user_namespace};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::Path;

/// Deletes an entry of the staging or trash directory and everything below it, and forgets the limit of what was
/// a subvolume. It is emptied as any directory is, so that a mount in it, or a file that must stay, is left alone.
/// What belongs to ids that this process's user was granted is deleted too.
pub fn discard(dir: &Dir, entry: &str, shown: &Path) -> Result<()> {
    let subvolume = dir.open_child(entry).ok().and_then(|child| Subvolume::of_root(child.as_fd()).ok()?);
    let delete = || purge(dir.try_clone()?, OsStr::new(entry), shown);
    match delete() {
        // What a rootless container's users own is its user's, who can be root among them.
        Err(error) if error.is_refusal(&[Errno::EACCES, Errno::EPERM]) => {
            remove_in_user_namespace(dir.as_fd(), entry).map_err(|_| error)?;
            delete()?;
        }
        deleted => deleted?,
    }
    if let Some(subvolume) = subvolume {
        let _where_the_kernel_does_it_itself = subvolume.forget_quota(dir.as_fd());
    }
    Ok(())
}
