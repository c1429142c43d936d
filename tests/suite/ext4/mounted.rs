//! Images mounted by the kernel.

use super::e2fsprogs::output_of;
use crate::support::skip::skip;
use crate::support::unmount::unmount;
use nix::mount::{MntFlags, umount2};
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
        // A test that has failed may have left something open; then the mount goes when that does.
        if std::thread::panicking() {
            let _ = umount2(self.dir.path(), MntFlags::MNT_DETACH);
        } else {
            unmount(self.dir.path()).unwrap();
        }
    }
}
