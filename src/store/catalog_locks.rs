//! The locks of the catalog: among processes, and among the instances in this process.

use super::home_dirs::HomeDirs;
use super::paths::{CATALOG_INSTANCES, CATALOG_LOCK};
use crate::catalog::{CatalogLock, CatalogLocks};
use crate::error::{Error, Result};
use crate::sys::{AddonInstance, FileId, FileLock};
use std::time::Instant;

impl HomeDirs {
    /// Returns the locks of the catalog.
    pub fn catalog_locks(&self) -> Result<CatalogLocks> {
        let (writers, path) = (self.catalog_write_lock(), self.catalog_file());
        let file = Box::new(move || {
            let file = FileId::at(&path).ok().flatten();
            file.map(|file| (file.device(), file.inode()))
        });
        let instance = match self.is_read_only() {
            true => None,
            false => AddonInstance::announce(&self.databases, CATALOG_INSTANCES)?,
        };
        let Some(instance) = instance else {
            let (instances, has_other_instances): (CatalogLock, _) =
                (Box::new(|_| Ok(Box::new(()))), Box::new(|| false));
            return Ok(CatalogLocks { writers, instances, has_other_instances, file });
        };
        let checked = instance.clone();
        Ok(CatalogLocks {
            writers,
            instances: Box::new(move |deadline| {
                let wait = deadline.saturating_duration_since(Instant::now());
                match instance.enter(wait)? {
                    Some(entered) => Ok(Box::new(entered)),
                    None => {
                        Err(Error::catalog("is in use by another copy of sandbox-volumes. Try again later."))
                    }
                }
            }),
            has_other_instances: Box::new(move || checked.has_others().unwrap_or(true)),
            file,
        })
    }

    /// Returns the lock that excludes other writers of the catalog.
    pub fn catalog_write_lock(&self) -> CatalogLock {
        let databases = self.databases.clone();
        Box::new(move |deadline| {
            let wait = deadline.saturating_duration_since(Instant::now());
            match FileLock::acquire(&databases, CATALOG_LOCK, wait, || Ok(()))? {
                Some(lock) => Ok(Box::new(lock)),
                None => Err(Error::catalog("is being written by another process. Try again later.")),
            }
        })
    }
}
