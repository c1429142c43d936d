//! Immutable files.

use super::skip::skip;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that cannot be changed, until dropped.
pub struct Immutable {
    /// Leads to it wherever the directory that holds it is moved.
    path: PathBuf,
    _holder: File,
}

impl Immutable {
    /// Returns `None` if this process or the file system cannot.
    pub fn new(path: &Path) -> Option<Self> {
        let holder = File::open(path.parent().unwrap()).unwrap();
        let held = format!("/proc/{}/fd/{}", std::process::id(), holder.as_raw_fd());
        let path = Path::new(&held).join(path.file_name().unwrap());
        match change("+i", &path) {
            true => Some(Immutable { path, _holder: holder }),
            false => {
                skip("chattr +i needs root and a file system that knows it");
                None
            }
        }
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        // One panic more would end the process with the file still as it is.
        assert!(change("-i", &self.path) || std::thread::panicking(), "{:?} stays immutable", self.path);
    }
}

fn change(flag: &str, path: &Path) -> bool {
    Command::new("chattr").arg(flag).arg(path).status().is_ok_and(|status| status.success())
}
