//! Looking volumes up.

use crate::error::{Error, Result};
use crate::model::{Labels, MIB, VolumeKind, VolumeName, VolumeRecord};
use crate::store::{Store, StoreHandle};
use crate::sync::CancelToken;
use crate::sys::{STAT_BLOCK, Subvolume};
use crate::volume_fs::VolumeRoot;
use nix::errno::Errno;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Nothing is there, or no directory that this process may read.
const UNCOUNTED: [Errno; 4] = [Errno::ENOENT, Errno::EACCES, Errno::ENOTDIR, Errno::ELOOP];

/// A volume's record and what was measured when it was looked up.
#[derive(Clone, Debug)]
pub struct VolumeInfo {
    /// What the catalog knows.
    pub record: VolumeRecord,
    /// The data directory on the host.
    pub path: PathBuf,
    /// The bytes allocated on the host.
    pub used_bytes: u64,
    /// Who enforces the quota at this moment; none where there is none.
    pub quota_enforcement: Option<QuotaEnforcement>,
}

/// Who holds a volume to its quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaEnforcement {
    /// The kernel, whoever writes.
    Kernel,
    /// This library, for what the host writes through it.
    Host,
}

impl QuotaEnforcement {
    /// The name that JavaScript sees.
    pub fn as_str(self) -> &'static str {
        match self {
            QuotaEnforcement::Kernel => "kernel",
            QuotaEnforcement::Host => "host",
        }
    }
}

impl Store {
    /// The volume of that name.
    pub fn get(&self, name: &VolumeName, cancel: &CancelToken) -> Result<VolumeInfo> {
        let opened = self.opened()?;
        let info = opened.measured(opened.volume(name)?, cancel)?;
        info.ok_or_else(|| Error::volume_not_found(name.as_str()))
    }

    /// The volumes that carry all labels of `filter`, newest first, name as tie-break.
    pub fn list(&self, filter: &Labels, cancel: &CancelToken) -> Result<Vec<VolumeInfo>> {
        let opened = self.opened()?;
        let look_up =
            || opened.catalog.read(|catalog| Ok((catalog.volumes()?, catalog.intents(None)?.is_empty())));
        let ((records, unusable), _) = match look_up()? {
            (_, false) if opened.settles_abandoned_intents(cancel)? => look_up()?,
            found => found,
        };
        opened.warn_of(&unusable);
        let matching = records.into_iter().filter(|record| record.labels.matches(filter));
        matching.filter_map(|record| opened.measured(record, cancel).transpose()).collect()
    }
}

impl StoreHandle {
    /// Measures a volume; none where it was removed since its record was read. A record whose directory somebody
    /// deleted by hand stays visible, with nothing used, so that it can be removed.
    fn measured(&self, record: VolumeRecord, cancel: &CancelToken) -> Result<Option<VolumeInfo>> {
        let (volumes, name) = (&self.layout.volumes, record.name.as_str());
        let used_bytes = match self.used_bytes(&record, cancel) {
            Ok(bytes) => bytes,
            Err(error) if error.is_refusal(&UNCOUNTED) => 0,
            Err(error) => return Err(error.in_volume(name)),
        };
        if used_bytes == 0 && !self.is_still(&record)? {
            return Ok(None);
        }
        let quota_enforcement = record.quota_mib.map(|mib| self.enforcement(&record.name, mib));
        Ok(Some(VolumeInfo { path: volumes.path_of(name), record, used_bytes, quota_enforcement }))
    }

    /// Looked up in the file system, which alone knows: a volume may have been copied to another one.
    fn enforcement(&self, name: &VolumeName, mib: u32) -> QuotaEnforcement {
        let root = self.layout.volumes.open_child(name.as_str()).ok();
        let subvolume = root.and_then(|root| Subvolume::of_root(root.as_fd()).ok()?);
        match subvolume.and_then(|subvolume| subvolume.quota()) {
            Some(quota) if quota.limit <= u64::from(mib) * MIB => QuotaEnforcement::Kernel,
            _ => QuotaEnforcement::Host,
        }
    }

    /// What a directory volume's tree takes on the host, or a disk volume's image.
    fn used_bytes(&self, record: &VolumeRecord, cancel: &CancelToken) -> Result<u64> {
        match record.kind {
            VolumeKind::Dir => {
                let dir = self.layout.volumes.open_child(record.name.as_str())?;
                VolumeRoot::new(record.name.clone(), dir.try_clone()?).used_bytes(cancel)
            }
            VolumeKind::Disk => {
                let Some((image, path)) = self.image_of(record)? else { return Ok(0) };
                let metadata = image.metadata().map_err(|error| Error::file_system("stat", path, error))?;
                Ok(metadata.blocks() * STAT_BLOCK)
            }
        }
    }
}
