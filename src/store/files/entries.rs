//! Looks up, renames and lists the entries of a volume.

use crate::error::Result;
use crate::model::IntoVolumePath;
use crate::store::VolumeFs;
use crate::sync::CancelToken;
use crate::volume_fs::{DirListing, ListOptions, Stat};

impl VolumeFs {
    /// Returns the metadata of an entry. With `follow`, a symbolic link is followed.
    pub fn stat(&self, path: impl IntoVolumePath, follow: bool) -> Result<Stat> {
        let path = path.into_volume_path()?;
        self.open_root()?.stat(&path, follow)
    }

    /// Renames an entry within the volume.
    pub fn rename(
        &self,
        from: impl IntoVolumePath,
        to: impl IntoVolumePath,
        cancel: &CancelToken,
    ) -> Result<()> {
        let (from, to) = (from.into_volume_path()?, to.into_volume_path()?);
        let volume_root = self.open_root()?;
        cancel.commit()?;
        volume_root.rename(&from, &to)
    }

    /// Begins to list a directory. The listing holds descriptors until it is dropped.
    pub fn list(&self, path: impl IntoVolumePath, options: ListOptions) -> Result<DirListing> {
        let path = path.into_volume_path()?;
        self.open_root()?.list(&path, options)
    }
}
