//! Looking at the entries of a volume by name, and renaming them.

use crate::error::Result;
use crate::store::VolumeFs;
use crate::sync::CancelToken;
use crate::volume_fs::{DirListing, ListOptions, Stat};
use std::ffi::OsStr;

impl VolumeFs {
    /// What stands at a path; with `follow`, what a link there leads to.
    pub fn stat(&self, path: impl AsRef<OsStr>, follow: bool) -> Result<Stat> {
        self.tree()?.stat(path, follow)
    }

    /// Renames an entry within the volume.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>, cancel: &CancelToken) -> Result<()> {
        let tree = self.tree()?;
        cancel.commit()?;
        tree.rename(from, to)
    }

    /// Begins to list a directory. Unlike these files, the listing holds descriptors until it is dropped.
    pub fn list(&self, path: impl AsRef<OsStr>, options: ListOptions) -> Result<DirListing> {
        self.tree()?.list(path, options)
    }
}
