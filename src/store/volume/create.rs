//! Creates volumes.

use super::identity::new_identity;
use crate::catalog::{Action, Intent};
use crate::error::{Error, Result};
use crate::model::{MIB, VolumeId, VolumeName, VolumeSpec};
use crate::store::home_dirs::HomeDirs;
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
        let id = VolumeCreation { handle: &handle, name, spec, cancel }.run()?;
        Ok(CreatedVolume { id, path: handle.dirs.volumes.path_of(name.as_str()) })
    }
}

/// The creation of one volume.
pub(crate) struct VolumeCreation<'a> {
    pub handle: &'a StoreHandle,
    pub name: &'a VolumeName,
    pub spec: &'a VolumeSpec,
    pub cancel: &'a CancelToken,
}

impl VolumeCreation<'_> {
    /// Creates the volume and returns its id.
    pub fn run(&self) -> Result<VolumeId> {
        let handle = self.handle;
        let _lock = handle.lock_resolved(self.name, self.cancel)?;
        let intent = self.record_intent()?;
        let created = self.create_in_staging(&intent);
        match created.and_then(|()| handle.catalog.write(|catalog| catalog.delete_intent(intent.volume_id))) {
            Ok(()) => Ok(intent.identity),
            Err(error) => {
                // If the rollback fails too, the next holder of the name lock rolls back. That error is less useful
                // than this one.
                let _undone = self.rollback(&intent);
                Err(error)
            }
        }
    }

    fn record_intent(&self) -> Result<Intent> {
        let VolumeCreation { handle, name, spec, .. } = self;
        let (entry, identity) = (new_entry(name), new_identity()?);
        let volume_id = handle.catalog.write(|catalog| {
            let Some(volume_id) = catalog.insert_volume(name, identity, spec, now_ms())? else {
                return Err(Error::volume_already_exists(name.as_str()));
            };
            if handle.dirs.volumes.contains(name.as_str())? {
                return Err(Error::volume_directory_exists(name.as_str()));
            }
            catalog.begin(volume_id, Action::Create, &entry)?;
            Ok(volume_id)
        })?;
        let (name, action) = ((*name).clone(), Action::Create);
        Ok(Intent { volume_id, name, identity, action, entry, is_marked: false, in_place: false })
    }

    /// Moves the directory back to the staging directory, so that the intent is rolled back, now or later.
    fn rollback(&self, intent: &Intent) -> Result<()> {
        let HomeDirs { staging, volumes, .. } = &self.handle.dirs;
        if !staging.contains(&intent.entry)? {
            volumes.move_to(intent.name.as_str(), staging, &intent.entry)?;
        }
        self.handle.resolve_creation(intent)
    }

    /// Creates a volume's directory. It is a subvolume if the kernel can enforce the quota.
    fn create_directory(&self, entry: &str) -> Result<Dir> {
        let HomeDirs { staging, sync, .. } = &self.handle.dirs;
        if let Some(mib) = self.spec.quota_mib() {
            let limited = staging.create_limited_child(entry, VOLUME_MODE, u64::from(mib) * MIB)?;
            if let Some(limited) = limited {
                sync.file_system(&limited)?;
                return Ok(limited);
            }
        }
        staging.create_child(entry, VOLUME_MODE)
    }

    /// Creates the directory, with an image for a disk, in the staging directory. Then moves it into place.
    fn create_in_staging(&self, intent: &Intent) -> Result<()> {
        let dirs = &self.handle.dirs;
        let created = self.create_directory(&intent.entry)?;
        if let Some(disk) = self.spec.disk() {
            dirs.create_image(&created, &intent.name, disk)
                .map_err(|error| error.in_volume(intent.name.as_str()))?;
        }
        dirs.sync.dir(&created)?;
        // Crash safety: the id file exists before the volume does, and the rollback deletes it.
        dirs.store_identity(&intent.name, intent.identity)?;
        self.cancel.commit()?;
        dirs.staging.move_to(&intent.entry, &dirs.volumes, intent.name.as_str())?;
        dirs.sync.dir(&dirs.volumes)
    }
}
