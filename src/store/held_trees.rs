//! The trees of directory volumes that were used lately, held open.
//!
//! Opening a volume's root and learning from the catalog that it is no disk takes longer than most of what is then
//! done with a file. While a root is held no other file gets its number, so one look tells whether it is what still
//! stands at the volume's path: whoever removed, replaced or remade the volume, or its home, put something else there.

use crate::content::Tree;
use crate::error::Result;
use crate::model::VolumeName;
use crate::sys::FileId;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many are held.
const MOST: usize = 64;

#[derive(Debug, Default)]
pub struct HeldTrees(Mutex<HashMap<VolumeName, (Tree, FileId)>>);

impl HeldTrees {
    /// The tree of the volume of that name, if it is held and its root is what stands at `path` now.
    pub fn at(&self, name: &VolumeName, path: &Path) -> Result<Option<Tree>> {
        let Some((tree, id)) = self.lock().get(name).cloned() else { return Ok(None) };
        match FileId::at_entry(path)? == Some(id) {
            true => Ok(Some(tree)),
            false => {
                self.let_go(name);
                Ok(None)
            }
        }
    }

    pub fn hold(&self, name: &VolumeName, tree: &Tree, id: FileId) {
        let mut held = self.lock();
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(name.clone(), (tree.clone(), id));
    }

    /// A volume that is removed gives its space back once nobody holds it.
    pub fn let_go(&self, name: &VolumeName) {
        self.lock().remove(name);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<VolumeName, (Tree, FileId)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
