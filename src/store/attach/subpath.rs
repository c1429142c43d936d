//! Parts of volumes among the mounts of an attachment.

use crate::error::Result;
use crate::model::VolumeRecord;
use crate::mount::{MountedPart, ResolvedSource, Subpath};
use crate::store::StoreHandle;
use crate::sync::CancelToken;
use crate::sys::path_to_open;
use crate::volume_fs::{PinnedSubpath, Quota, VolumeRoot};
use nix::errno::Errno;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

impl StoreHandle {
    /// A part of a directory volume as a mount shows it; what is missing is made where `make` says so. A guest that
    /// has the volume may put something else in its place at any moment: a runtime is handed on the very one that was
    /// found.
    pub(crate) fn resolve_part(
        &self,
        volume: &VolumeRecord,
        subpath: &Subpath,
        make: bool,
        cancel: &CancelToken,
    ) -> Result<(ResolvedSource, OwnedFd)> {
        let name = &volume.name;
        let root =
            self.layout.volumes.open_child(name.as_str()).map_err(|error| error.in_volume(name.as_str()))?;
        let tree = VolumeRoot::new(name.clone(), root.try_clone()?).in_turns(&self.turns);
        let found = match tree.part(subpath.as_str()) {
            Err(error) if make && error.is_refusal(&[Errno::ENOENT]) => {
                self.make_part(&tree, volume, subpath, cancel)?;
                tree.part(subpath.as_str())
            }
            found => found,
        };
        let PinnedSubpath { descriptor, is_file } = found?;
        let root = self.layout.volumes.path_of(name.as_str());
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
            quota_mib: volume.quota_mib,
        };
        Ok((origin, descriptor))
    }

    fn make_part(
        &self,
        tree: &VolumeRoot,
        volume: &VolumeRecord,
        subpath: &Subpath,
        cancel: &CancelToken,
    ) -> Result<()> {
        let make = || tree.mkdir_for_owner(subpath.as_str(), Quota::mib(volume.quota_mib), &cancel.nested());
        match volume.quota_mib {
            Some(_) => self.in_turn(&volume.name, cancel, make),
            None => make(),
        }
    }
}
