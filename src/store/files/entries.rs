//! Looks up, renames and lists the entries of a volume.

use crate::error::Result;
use crate::store::VolumeFs;
use crate::sync::CancelToken;
use crate::volume_fs::{DirListing, ListOptions, Stat};
use std::ffi::OsStr;

impl VolumeFs {
    /// Returns the metadata of an entry. With `follow`, a symbolic link is followed.
    pub fn stat(&self, path: impl AsRef<OsStr>, follow: bool) -> Result<Stat> {
        self.open_root()?.stat(path, follow)
    }

    /// Renames an entry within the volume.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>, cancel: &CancelToken) -> Result<()> {
        let volume_root = self.open_root()?;
        cancel.commit()?;
        volume_root.rename(from, to)
    }

    /// Begins to list a directory. The listing holds descriptors until it is dropped.
    pub fn list(&self, path: impl AsRef<OsStr>, options: ListOptions) -> Result<DirListing> {
        self.open_root()?.list(path, options)
    }
}
