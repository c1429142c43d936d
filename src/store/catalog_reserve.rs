//! Disk space that is reserved for the catalog, so that a volume can be removed from a full disk.

use super::paths::CATALOG_RESERVE;
use crate::error::{Error, Result};
use crate::sys::fd::AsFd;
use crate::sys::{Dir, release, reserve};
use std::sync::Arc;

/// Bytes of one reserved transaction that frees resources, and the number of reserved transactions.
const RESERVE_STEP_BYTES: i64 = 16 << 10;
const MAX_RESERVE_STEPS: i64 = 4;

/// The reserve file beside the catalog.
#[derive(Debug)]
pub struct CatalogReserve {
    databases: Arc<Dir>,
}

impl CatalogReserve {
    /// Returns the reserve in the directory of the catalog. The file is created when the reserve is filled.
    pub fn new(databases: Arc<Dir>) -> Self {
        CatalogReserve { databases }
    }

    /// Fills the reserve file, which frees space for the catalog on a full disk. If that fails now, the next opening
    /// of the store tries again.
    pub fn fill(&self) {
        let _reserved = self.databases.open_or_create_file(CATALOG_RESERVE).map(|file| {
            // As many transactions as fit.
            (1..=MAX_RESERVE_STEPS).try_for_each(|steps| reserve(file.as_fd(), steps * RESERVE_STEP_BYTES))
        });
    }

    /// Frees a part of the reserve. Returns false if the reserve is empty.
    pub fn release(&self) -> Result<bool> {
        let file = self.databases.open_or_create_file(CATALOG_RESERVE)?;
        release(file.as_fd(), RESERVE_STEP_BYTES)
            .map_err(|error| Error::file_system("ftruncate", self.databases.path_of(CATALOG_RESERVE), error))
    }
}
