//! Images mounted by the kernel.

use crate::e2fsprogs::output_of;
use crate::skip::skip;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Whether images can be mounted; says that a test is skipped where they cannot.
pub fn is_possible() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        skip("only root can mount an image");
    }
    is_root
}

/// An image that is mounted through a loop device until this is dropped.
pub struct Mounted {
    dir: TempDir,
}

impl Mounted {
    pub fn new(image: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        output_of(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(image).arg(dir.path()));
        Mounted { dir }
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(below)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.dir.path()).status();
        // A test that has failed may have left something open; then the mount goes when that does.
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = Command::new("umount").arg("--lazy").arg(self.dir.path()).status();
            assert!(std::thread::panicking(), "{:?} could not be unmounted", self.dir.path());
        }
    }
}
