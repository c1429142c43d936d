//! The trees of directory volumes that were used lately, held open.
//!
//! Opening a volume's root and learning from the catalog that it is no disk takes longer than most of what is then
//! done with a file. While a root is held no other file gets its number, so one look tells whether it is what still
//! stands at the volume's path: whoever removed, replaced or remade the volume, or its home, put something else there.
//! So a root that stands there is still the root of the volume with the id that was held with it.

use crate::error::Result;
use crate::model::{VolumeId, VolumeName, VolumeRef};
use crate::sync::IgnorePoison;
use crate::sys::FileId;
use crate::volume_fs::VolumeRoot;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

/// How many are held.
const MOST: usize = 64;

/// A volume's tree, its root, and the id of the volume.
#[derive(Clone, Debug)]
pub struct CachedRoot {
    pub tree: VolumeRoot,
    pub root: FileId,
    pub volume: VolumeId,
}

#[derive(Debug, Default)]
pub struct RootCache(Mutex<HashMap<VolumeName, CachedRoot>>);

impl RootCache {
    /// The tree of the volume that is meant, if it is held and its root is what stands at `path` now.
    pub fn at(&self, wanted: &VolumeRef, path: &Path) -> Result<Option<VolumeRoot>> {
        let held = self.lock().get(&wanted.name).cloned();
        let Some(held) = held.filter(|held| wanted.admits(held.volume)) else { return Ok(None) };
        match FileId::at_entry(path)? == Some(held.root) {
            true => Ok(Some(held.tree)),
            false => {
                self.let_go(&wanted.name);
                Ok(None)
            }
        }
    }

    pub fn hold(&self, name: &VolumeName, tree: CachedRoot) {
        let mut held = self.lock();
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(name.clone(), tree);
    }

    /// A volume that is removed gives its space back once nobody holds it.
    pub fn let_go(&self, name: &VolumeName) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VolumeName, CachedRoot>> {
        self.0.lock().ignore_poison()
    }
}
