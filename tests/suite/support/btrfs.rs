//! A file system whose kernel keeps quotas, of the test's own.

use super::skip::skip;
use super::unmount::unmount;
use nix::mount::{MntFlags, umount2};
use std::fs::File;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A btrfs on a loop device, unmounted and its device freed when dropped.
pub struct Btrfs {
    mounted: TempDir,
    _image: TempDir,
}

/// Runs a program on a path, and returns what it prints.
pub fn run(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Btrfs {
    /// Mounts one without quotas. If that is not possible, skips the test and returns `None`.
    pub fn new() -> Option<Self> {
        let has_tools = Command::new("mkfs.btrfs").arg("--version").output().is_ok();
        if !nix::unistd::geteuid().is_root() || !has_tools {
            skip("a btrfs needs root and mkfs.btrfs");
            return None;
        }
        let (image, mounted) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let file = image.path().join("btrfs");
        File::create(&file).unwrap().set_len(256 << 20).unwrap();
        run("mkfs.btrfs", &["-q"], &file);
        // What was deleted is gone after a commit, of which there is one a second.
        run("mount", &["-o", "loop,commit=1", file.to_str().unwrap()], mounted.path());
        Some(Btrfs { mounted, _image: image })
    }

    /// One with quotas.
    pub fn with_quotas() -> Option<Self> {
        let btrfs = Btrfs::new()?;
        run("btrfs", &["quota", "enable"], btrfs.path());
        Some(btrfs)
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.mounted.path()
    }
}

impl Drop for Btrfs {
    fn drop(&mut self) {
        match std::thread::panicking() {
            true => umount2(self.path(), MntFlags::MNT_DETACH).unwrap(),
            false => unmount(self.path()).unwrap(),
        }
    }
}
