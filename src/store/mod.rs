//! The store: volumes of one home directory, from creation to removal, and what they are attached to.
//!
//! Whoever changes a volume holds its name's lock, writes the intent down, does the work and commits. So a
//! crash at any instant leaves the old state, the new one, or an intent that the next one to hold the lock
//! finishes or undoes.

#![forbid(unsafe_code)]

mod attach;
mod create;
mod files;
mod host_path;
mod layout;
mod mount_points;
mod query;
mod recover;
mod remove;

pub use crate::catalog::Durability;
pub use crate::content::{OpenedFile, WriteOptions};
pub use attach::Attachment;
pub use files::VolumeFiles;
pub use query::VolumeInfo;

use crate::catalog::Catalog;
use crate::error::Result;
use crate::sys::FileId;
use layout::Layout;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

/// The volumes of one home directory.
#[derive(Debug)]
pub struct Store {
    home: PathBuf,
    durability: Durability,
    opened: RwLock<Arc<Opened>>,
}

/// The descriptors and connections behind a store.
#[derive(Debug)]
struct Opened {
    layout: Layout,
    catalog: Catalog,
    /// What stood at the catalog's path and at the volumes', to notice when either was deleted or replaced.
    places: [Option<FileId>; 2],
}

impl Store {
    /// Opens the home at an absolute path, makes what is missing, and finishes or undoes what a dead process
    /// left.
    pub fn open(home: &Path, durability: Durability) -> Result<Self> {
        let opened = Opened::open(home, durability)?;
        Ok(Store { home: home.to_owned(), durability, opened: RwLock::new(Arc::new(opened)) })
    }

    /// The home directory.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The open home; opened anew where its catalog or its volumes are no longer what they were.
    fn opened(&self) -> Result<Arc<Opened>> {
        let opened = self.opened.read().unwrap_or_else(PoisonError::into_inner).clone();
        if opened.is_current()? {
            return Ok(opened);
        }
        let mut current = self.opened.write().unwrap_or_else(PoisonError::into_inner);
        if !current.is_current()? {
            *current = Arc::new(Opened::open(&self.home, self.durability)?);
        }
        Ok(current.clone())
    }
}

impl Opened {
    fn open(home: &Path, durability: Durability) -> Result<Self> {
        let layout = Layout::open(home, durability)?;
        let catalog = Catalog::open(&layout.catalog_path(), durability)?;
        layout.sync_catalog_directory()?;
        let opened = Opened { places: layout.places()?, layout, catalog };
        opened.recover()?;
        Ok(opened)
    }

    fn is_current(&self) -> Result<bool> {
        Ok(self.layout.places()? == self.places)
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
