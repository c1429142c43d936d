//! Looks up and lists volumes.

use crate::error::{Errno, Error, Result};
use crate::model::{Labels, MIB, VolumeName, VolumeRecord, VolumeStorage};
use crate::store::home_dirs::HomeDirs;
use crate::store::{Store, StoreHandle};
use crate::sync::{CancelToken, IgnorePoison};
use crate::sys::ext::MetadataExt;
use crate::sys::fd::AsFd;
use crate::sys::{Dir, STAT_BLOCK, Subvolume};
use crate::volume_fs::VolumeRoot;
use std::path::PathBuf;

/// Errors that mean that no directory exists that this process may read.
const UNREADABLE: [Errno; 4] = [Errno::ENOENT, Errno::EACCES, Errno::ENOTDIR, Errno::ELOOP];

/// A volume's record and its usage at the time of the lookup.
#[derive(Clone, Debug)]
pub struct VolumeInfo {
    /// The volume's row in the catalog.
    pub record: VolumeRecord,
    /// Data directory on the host.
    pub path: PathBuf,
    /// Bytes allocated on the host.
    pub used_bytes: u64,
    /// What enforces the quota now; `None` if the volume has no quota.
    pub quota_enforcement: Option<QuotaEnforcement>,
}

/// What enforces a volume's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaEnforcement {
    /// The kernel, for every writer.
    Kernel,
    /// This library, for what the host writes through it.
    Host,
}

impl QuotaEnforcement {
    /// Returns the name in JavaScript.
    pub fn as_str(self) -> &'static str {
        match self {
            QuotaEnforcement::Kernel => "kernel",
            QuotaEnforcement::Host => "host",
        }
    }

    /// Checks the limit in the file system, because the volume may have been copied to another one.
    fn of(volumes: &Dir, name: &VolumeName, mib: u32) -> Self {
        let root = volumes.open_child(name.as_str()).ok();
        let subvolume = root.and_then(|root| Subvolume::of_root(root.as_fd()).ok()?);
        match subvolume.and_then(|subvolume| subvolume.quota()) {
            Some(quota) if quota.limit <= u64::from(mib) * MIB => QuotaEnforcement::Kernel,
            _ => QuotaEnforcement::Host,
        }
    }
}

impl Store {
    /// Returns the volume with this name.
    pub fn get(&self, name: &VolumeName, cancel: &CancelToken) -> Result<VolumeInfo> {
        let handle = self.handle()?;
        let info = VolumeInfo::measure(&handle, handle.volume(name)?, cancel)?;
        info.ok_or_else(|| Error::volume_not_found(name.as_str()))
    }

    /// Returns the volumes that have all labels of `filter`, the newest first; the name breaks ties.
    pub fn list(&self, filter: &Labels, cancel: &CancelToken) -> Result<Vec<VolumeInfo>> {
        let handle = self.handle()?;
        let look_up =
            || handle.catalog.read(|catalog| Ok((catalog.volumes()?, catalog.intents(None)?.is_empty())));
        let ((records, invalid), _) = match look_up()? {
            (_, false) if handle.try_resolve_abandoned_intents(cancel)? => look_up()?,
            found => found,
        };
        handle.warnings.lock().ignore_poison().add_invalid(&invalid);
        let matching = records.into_iter().filter(|record| record.labels.matches(filter));
        matching.filter_map(|record| VolumeInfo::measure(&handle, record, cancel).transpose()).collect()
    }
}

impl VolumeInfo {
    /// Measures a volume. Returns `None` if it was removed after its record was read.
    ///
    /// A record whose directory was deleted manually stays visible, with no usage, so that it can be removed.
    fn measure(handle: &StoreHandle, record: VolumeRecord, cancel: &CancelToken) -> Result<Option<Self>> {
        let (volumes, name) = (&handle.dirs.volumes, record.name.as_str());
        let used_bytes = match handle.dirs.used_bytes(&record, cancel) {
            Ok(bytes) => bytes,
            Err(error) if error.is_refusal(&UNREADABLE) => 0,
            Err(error) => return Err(error.in_volume(name)),
        };
        if used_bytes == 0 && !handle.still_exists(&record)? {
            return Ok(None);
        }
        let quota_enforcement =
            record.storage.quota_mib().map(|mib| QuotaEnforcement::of(volumes, &record.name, mib));
        Ok(Some(VolumeInfo { path: volumes.path_of(name), record, used_bytes, quota_enforcement }))
    }
}

impl HomeDirs {
    /// Returns the bytes that a directory volume's tree, or a disk volume's image, takes on the host.
    fn used_bytes(&self, record: &VolumeRecord, cancel: &CancelToken) -> Result<u64> {
        match &record.storage {
            VolumeStorage::Directory { .. } => {
                let dir = self.volumes.open_child(record.name.as_str())?;
                VolumeRoot::new(record.name.clone(), dir.try_clone()?).used_bytes(cancel)
            }
            VolumeStorage::Disk(disk) => {
                let Some((image, path)) = self.image_of(&record.name, disk)? else { return Ok(0) };
                let metadata = image.metadata().map_err(|error| Error::file_system("stat", path, error))?;
                Ok(metadata.blocks() * STAT_BLOCK)
            }
        }
    }
}
