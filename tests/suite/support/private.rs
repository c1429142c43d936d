//! A tmpfs of the test's own, on which no other process frees or takes space.

use super::skip::skip;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::path::Path;

/// Gone with all that is in it when dropped.
pub struct Private(tempfile::TempDir);

impl Private {
    /// Mounts one of 64 MiB. If that is not possible, skips the test and returns `None`.
    pub fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        match mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=64m,nr_inodes=0"))
        {
            Ok(()) => Some(Private(dir)),
            Err(errno) => {
                skip(format!("a tmpfs cannot be mounted: {errno}"));
                None
            }
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).unwrap();
    }
}
