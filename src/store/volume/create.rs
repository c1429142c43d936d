//! Creates volumes.

use super::identity::new_identity;
use crate::catalog::{Action, Intent};
use crate::error::{Error, Result};
use crate::model::{MIB, VolumeId, VolumeName, VolumeSpec};
use crate::store::paths::new_entry;
use crate::store::{Store, StoreHandle, now_ms};
use crate::sync::CancelToken;
use crate::sys::Dir;
use std::path::PathBuf;

/// Mode of a volume's root. Sandboxes may run as other users; the directories above have mode 0700.
const VOLUME_MODE: u32 = 0o755;

/// A volume that was just created.
#[derive(Clone, Debug)]
pub struct CreatedVolume {
    /// Id of the volume.
    pub id: VolumeId,
    /// Path of the volume's directory.
    pub path: PathBuf,
}

impl Store {
    /// Creates a volume. It exists completely and on disk, or not at all.
    pub fn create(
        &self,
        name: &VolumeName,
        spec: &VolumeSpec,
        cancel: &CancelToken,
    ) -> Result<CreatedVolume> {
        let handle = self.handle()?;
        let id = self.create_volume(&handle, name, spec, cancel)?;
        Ok(CreatedVolume { id, path: handle.dirs.volumes.path_of(name.as_str()) })
    }

    /// Creates a volume and returns its id.
    pub(crate) fn create_volume(
        &self,
        handle: &StoreHandle,
        name: &VolumeName,
        spec: &VolumeSpec,
        cancel: &CancelToken,
    ) -> Result<VolumeId> {
        let _lock = handle.lock_resolved(name, cancel)?;
        let intent = handle.intend_to_create(name, spec)?;
        let created = handle.create_in_staging(&intent, spec, cancel);
        match created.and_then(|()| handle.catalog.write(|catalog| catalog.delete_intent(intent.volume_id))) {
            Ok(()) => Ok(intent.identity),
            Err(error) => {
                // If the rollback fails too, the next holder of the name lock rolls back. That error is less useful
                // than this one.
                let _undone = handle.rollback_creation(&intent);
                Err(error)
            }
        }
    }
}

impl StoreHandle {
    fn intend_to_create(&self, name: &VolumeName, spec: &VolumeSpec) -> Result<Intent> {
        let (entry, identity) = (new_entry(name), new_identity()?);
        let volume_id = self.catalog.write(|catalog| {
            let Some(volume_id) = catalog.insert_volume(name, identity, spec, now_ms())? else {
                return Err(Error::volume_already_exists(name.as_str()));
            };
            if self.dirs.volumes.contains(name.as_str())? {
                return Err(Error::volume_directory_exists(name.as_str()));
            }
            catalog.begin(volume_id, Action::Create, &entry)?;
            Ok(volume_id)
        })?;
        let (name, action) = (name.clone(), Action::Create);
        Ok(Intent { volume_id, name, identity, action, entry, is_marked: false, in_place: false })
    }

    /// Moves the directory back to the staging directory, so that the intent is rolled back, now or later.
    fn rollback_creation(&self, intent: &Intent) -> Result<()> {
        let (staging, volumes) = (&self.dirs.staging, &self.dirs.volumes);
        if !staging.contains(&intent.entry)? {
            volumes.move_to(intent.name.as_str(), staging, &intent.entry)?;
        }
        self.resolve_creation(intent)
    }

    /// Creates a volume's directory. It is a subvolume if the kernel can enforce the quota.
    fn create_directory(&self, entry: &str, spec: &VolumeSpec) -> Result<Dir> {
        let staging = &self.dirs.staging;
        if let Some(mib) = spec.quota_mib() {
            let limited = staging.create_limited_child(entry, VOLUME_MODE, u64::from(mib) * MIB)?;
            if let Some(limited) = limited {
                self.dirs.sync.file_system(&limited)?;
                return Ok(limited);
            }
        }
        staging.create_child(entry, VOLUME_MODE)
    }

    /// Creates the directory, with an image for a disk, in the staging directory. Then moves it into place.
    fn create_in_staging(&self, intent: &Intent, spec: &VolumeSpec, cancel: &CancelToken) -> Result<()> {
        let created = self.create_directory(&intent.entry, spec)?;
        if let Some(disk) = spec.disk() {
            self.create_image(&created, &intent.name, disk)
                .map_err(|error| error.in_volume(intent.name.as_str()))?;
        }
        self.dirs.sync.dir(&created)?;
        // Crash safety: the id file exists before the volume does, and the rollback deletes it.
        self.dirs.store_identity(&intent.name, intent.identity)?;
        cancel.commit()?;
        self.dirs.staging.move_to(&intent.entry, &self.dirs.volumes, intent.name.as_str())?;
        self.dirs.sync.dir(&self.dirs.volumes)
    }
}
