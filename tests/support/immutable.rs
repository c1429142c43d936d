//! Files that nobody can change.

use crate::skip::skip;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file that cannot be changed, until dropped.
pub struct Immutable(PathBuf);

impl Immutable {
    /// None where this process or the file system cannot.
    pub fn new(path: &Path) -> Option<Self> {
        let status = Command::new("chattr").arg("+i").arg(path).status();
        match status.is_ok_and(|status| status.success()) {
            true => Some(Immutable(path.to_owned())),
            false => {
                skip("chattr +i needs root and a file system that knows it");
                None
            }
        }
    }
}

impl Drop for Immutable {
    fn drop(&mut self) {
        assert!(Command::new("chattr").arg("-i").arg(&self.0).status().unwrap().success());
    }
}
