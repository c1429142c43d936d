//! Creating a volume.

use super::identity::new_identity;
use crate::catalog::{Action, Intent};
use crate::error::{Error, Result};
use crate::model::{MIB, VolumeId, VolumeName, VolumeSpec};
use crate::store::layout::new_entry;
use crate::store::{Store, StoreHandle, now_ms};
use crate::sync::CancelToken;
use crate::sys::Dir;
use std::path::PathBuf;

/// The mode of a volume's own directory: sandboxes may run as other users. Above it, everything is 0700.
const VOLUME_MODE: u32 = 0o755;

/// A volume that was just created.
#[derive(Clone, Debug)]
pub struct CreatedVolume {
    /// Its id.
    pub id: VolumeId,
    /// The path of its directory.
    pub path: PathBuf,
}

impl Store {
    /// Creates a volume. It is there whole, and on disk, or not at all.
    pub fn create(
        &self,
        name: &VolumeName,
        spec: &VolumeSpec,
        cancel: &CancelToken,
    ) -> Result<CreatedVolume> {
        let opened = self.opened()?;
        let id = self.create_volume(&opened, name, spec, cancel)?;
        Ok(CreatedVolume { id, path: opened.layout.volumes.path_of(name.as_str()) })
    }

    /// Creates a volume and returns its id.
    pub(crate) fn create_volume(
        &self,
        opened: &StoreHandle,
        name: &VolumeName,
        spec: &VolumeSpec,
        cancel: &CancelToken,
    ) -> Result<VolumeId> {
        let _lock = opened.lock_settled(name, cancel)?;
        let intent = opened.intend_to_create(name, spec)?;
        let made = opened.make(&intent, spec, cancel);
        match made.and_then(|()| opened.catalog.write(|catalog| catalog.settle(intent.volume_id))) {
            Ok(()) => Ok(intent.identity),
            Err(error) => {
                // Where undoing fails as well, the next one to hold the lock does it, and that error says less.
                let _undone = opened.undo_creation(&intent);
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
            if self.layout.volumes.contains(name.as_str())? {
                return Err(Error::volume_directory_exists(name.as_str()));
            }
            catalog.begin(volume_id, Action::Create, &entry)?;
            Ok(volume_id)
        })?;
        let (name, action) = (name.clone(), Action::Create);
        Ok(Intent { volume_id, name, identity, action, entry, is_marked: false, in_place: false })
    }

    /// Takes the directory back out of sight, so that it is the intent's to delete, now or later.
    fn undo_creation(&self, intent: &Intent) -> Result<()> {
        let (staging, volumes) = (&self.layout.staging, &self.layout.volumes);
        if !staging.contains(&intent.entry)? {
            volumes.move_to(intent.name.as_str(), staging, &intent.entry)?;
        }
        self.settle_creation(intent)
    }

    /// Makes a volume's directory; where it has a quota that the kernel keeps, as a subvolume.
    fn make_directory(&self, entry: &str, spec: &VolumeSpec) -> Result<Dir> {
        let staging = &self.layout.staging;
        if let Some(mib) = spec.quota_mib() {
            let limited = staging.create_limited_child(entry, VOLUME_MODE, u64::from(mib) * MIB)?;
            if let Some(limited) = limited {
                self.layout.put_file_system_on_disk(&limited)?;
                return Ok(limited);
            }
        }
        staging.create_child(entry, VOLUME_MODE)
    }

    /// Makes the directory, for a disk with its image, aside and moves it into place, where nothing stands.
    fn make(&self, intent: &Intent, spec: &VolumeSpec, cancel: &CancelToken) -> Result<()> {
        let made = self.make_directory(&intent.entry, spec)?;
        if let Some(disk) = spec.disk() {
            self.make_image(&made, &intent.name, disk)
                .map_err(|error| error.in_volume(intent.name.as_str()))?;
        }
        self.layout.put_on_disk(&made)?;
        // Crash safety: the file is there before the volume is, and goes when the creation is undone.
        self.layout.store_identity(&intent.name, intent.identity)?;
        cancel.commit()?;
        self.layout.staging.move_to(&intent.entry, &self.layout.volumes, intent.name.as_str())?;
        self.layout.put_on_disk(&self.layout.volumes)
    }
}
