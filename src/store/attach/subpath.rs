//! Subpaths of volumes among the mounts of an attachment.

use crate::error::{Errno, Result};
use crate::model::VolumeRecord;
use crate::mount::{MountedPart, ResolvedSource, Subpath};
use crate::store::StoreHandle;
use crate::sync::CancelToken;
use crate::sys::fd::{AsFd, AsRawFd, OwnedFd};
use crate::sys::path_to_open;
use crate::volume_fs::{PinnedSubpath, VolumeRoot};

impl StoreHandle {
    /// Resolves a subpath of a directory volume. Creates it if it is missing and `make` is true.
    ///
    /// TOCTOU: a guest may replace the entry at any time. A runtime gets the descriptor of the entry that was
    /// checked.
    pub(crate) fn resolve_subpath(
        &self,
        volume: &VolumeRecord,
        subpath: &Subpath,
        create: bool,
        cancel: &CancelToken,
    ) -> Result<(ResolvedSource, OwnedFd)> {
        let name = &volume.name;
        let root =
            self.dirs.volumes.open_child(name.as_str()).map_err(|error| error.in_volume(name.as_str()))?;
        let volume_root =
            VolumeRoot::new(name.clone(), root.try_clone()?).with_quota_locks(&self.quota_locks);
        let found = match volume_root.pin_subpath(subpath.path()) {
            Err(error) if create && error.is_refusal(&[Errno::ENOENT]) => {
                self.create_subpath(&volume_root, volume, subpath, cancel)?;
                volume_root.pin_subpath(subpath.path())
            }
            found => found,
        };
        let PinnedSubpath { descriptor, is_file } = found?;
        let root = self.dirs.volumes.path_of(name.as_str());
        let origin = ResolvedSource::Named {
            volume: name.clone(),
            host: root.join(subpath.as_str()),
            open: path_to_open(descriptor.as_fd()),
            part: Some(MountedPart {
                subpath: subpath.clone(),
                root,
                is_file,
                descriptor: descriptor.as_raw_fd(),
            }),
            quota_mib: volume.storage.quota_mib(),
        };
        Ok((origin, descriptor))
    }

    fn create_subpath(
        &self,
        volume_root: &VolumeRoot,
        volume: &VolumeRecord,
        subpath: &Subpath,
        cancel: &CancelToken,
    ) -> Result<()> {
        let quota = self.quota_of(volume);
        let create = || volume_root.mkdir_for_owner(subpath.path(), quota.limit(), &cancel.nested());
        quota.with_lock(cancel, create)
    }
}
