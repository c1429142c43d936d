//! Subpaths of volumes among the mounts of an attachment.

use super::pending::PendingAttachment;
use crate::error::{Errno, Result};
use crate::model::VolumeRecord;
use crate::mount::{MountedPart, ResolvedSource, Subpath};
use crate::sys::fd::{AsFd, AsRawFd};
use crate::sys::path_to_open;
use crate::volume_fs::{PinnedSubpath, VolumeRoot};

impl PendingAttachment<'_> {
    /// Resolves a subpath of a directory volume. Creates it if it is missing and `create` is true.
    ///
    /// TOCTOU: a guest may replace the entry at any time. A runtime gets the descriptor of the entry that was
    /// checked.
    pub(super) fn resolve_subpath(
        &mut self,
        volume: &VolumeRecord,
        subpath: &Subpath,
        create: bool,
    ) -> Result<ResolvedSource> {
        let (volumes, name) = (&self.handle.dirs.volumes, &volume.name);
        let root = volumes.open_child(name.as_str()).map_err(|error| error.in_volume(name.as_str()))?;
        let volume_root =
            VolumeRoot::new(name.clone(), root.try_clone()?).with_quota_locks(&self.handle.quota_locks);
        let found = match volume_root.pin_subpath(subpath.path()) {
            Err(error) if create && error.is_refusal(&[Errno::ENOENT]) => {
                self.create_subpath(&volume_root, volume, subpath)?;
                volume_root.pin_subpath(subpath.path())
            }
            found => found,
        };
        let PinnedSubpath { descriptor, is_file } = found?;
        let root = volumes.path_of(name.as_str());
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
        self.subpaths.push(descriptor);
        Ok(origin)
    }

    fn create_subpath(
        &self,
        volume_root: &VolumeRoot,
        volume: &VolumeRecord,
        subpath: &Subpath,
    ) -> Result<()> {
        let quota = self.handle.quota_of(volume);
        let create = || volume_root.mkdir_for_owner(subpath.path(), quota.limit(), &self.cancel.nested());
        quota.with_lock(self.cancel, create)
    }
}
