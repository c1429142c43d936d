//! A cache of open roots of directory volumes.
//!
//! Opening a root and reading the volume's kind from the catalog takes longer than most file operations.
//!
//! TOCTOU: while a root is open, no other directory gets its inode number. So one `stat` of the path shows if the
//! volume, or its home, was removed, replaced or created again. If the inode is the same, the root still belongs to
//! the volume with the cached id.

use crate::error::Result;
use crate::model::{VolumeId, VolumeName, VolumeRef};
use crate::sync::IgnorePoison;
use crate::sys::FileId;
use crate::volume_fs::VolumeRoot;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// Maximum number of open roots.
const MAX_OPEN_ROOTS: usize = 64;

/// The root of a volume, its inode, and the id of the volume.
#[derive(Clone, Debug)]
pub struct CachedRoot {
    pub root: VolumeRoot,
    pub file_id: FileId,
    pub volume_id: VolumeId,
}

#[derive(Debug, Default)]
pub struct RootCache(Mutex<HashMap<VolumeName, CachedRoot>>);

impl RootCache {
    /// Returns the root of a volume if it is cached and is still at `path`.
    pub fn get(&self, wanted: &VolumeRef, path: &Path) -> Result<Option<VolumeRoot>> {
        let cached = self.lock().get(&wanted.name).cloned();
        let Some(cached) = cached.filter(|cached| wanted.admits(cached.volume_id)) else { return Ok(None) };
        match FileId::at_entry(path)? == Some(cached.file_id) {
            true => Ok(Some(cached.root)),
            false => {
                self.remove(&wanted.name);
                Ok(None)
            }
        }
    }

    pub fn insert(&self, name: &VolumeName, root: CachedRoot) {
        let mut cached = self.lock();
        if cached.len() >= MAX_OPEN_ROOTS {
            cached.clear();
        }
        cached.insert(name.clone(), root);
    }

    /// Removes a root. The space of a removed volume is freed when its root is closed.
    pub fn remove(&self, name: &VolumeName) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VolumeName, CachedRoot>> {
        self.0.lock().ignore_poison()
    }
}
