//! The catalog's files: their paths, kinds and rights, and the opening of the catalog.

use super::home_dirs::HomeDirs;
use super::paths::{CATALOG, CATALOG_INSTANCES, CATALOG_LOCK, CATALOG_SUFFIXES, DAMAGED, catalog_files};
use crate::catalog::{self, Catalog, CatalogLocks, FoundVolume};
use crate::error::{Error, Result};
use crate::sync::LOCK_TIMEOUT;
use crate::sys::{FileId, unique_token};
use std::path::PathBuf;
use std::time::Instant;

impl HomeDirs {
    /// Returns true if the catalog exists and is not empty. A catalog is empty while it is being created.
    pub fn has_catalog(&self) -> Result<bool> {
        Ok(self.databases.length_of(CATALOG)?.is_some_and(|length| length > 0))
    }

    /// Returns true if a file, under any name, is one of SQLite's files of the catalog. Closing such a file would
    /// release SQLite's locks.
    pub fn is_catalog_file(&self, id: FileId) -> Result<bool> {
        let mut entries = CATALOG_SUFFIXES.iter().map(|suffix| format!("{CATALOG}{suffix}"));
        entries.try_fold(false, |found, entry| {
            Ok(found || FileId::at(&self.databases.path_of(&entry))? == Some(id))
        })
    }

    /// Renames the catalog and its log, and returns the new path.
    pub fn quarantine_catalog(&self) -> Result<PathBuf> {
        let _lock = catalog::exclude_writers(&self.databases, CATALOG_LOCK, Instant::now() + LOCK_TIMEOUT)?;
        let kept = format!("{CATALOG}{DAMAGED}{}", unique_token());
        for suffix in CATALOG_SUFFIXES {
            let entry = format!("{CATALOG}{suffix}");
            if self.databases.contains(&entry)? {
                self.databases.move_to(&entry, &self.databases, &format!("{kept}{suffix}"))?;
            }
        }
        self.sync.dir(&self.databases)?;
        Ok(self.databases.path_of(&kept))
    }

    /// Returns the catalog's path.
    pub fn catalog_path(&self) -> PathBuf {
        self.databases.path_of(CATALOG)
    }

    /// Returns the catalog's path without symbolic links, which SQLite does not follow.
    pub fn catalog_file(&self) -> PathBuf {
        self.databases.real_path().join(CATALOG)
    }

    /// Flushes the catalog's directory entry.
    pub fn sync_catalog_directory(&self) -> Result<()> {
        self.sync.dir(&self.databases)
    }

    /// Returns the first entry of the catalog that exists and is no regular file, with its kind.
    pub fn invalid_catalog_file(&self) -> Result<Option<(String, &'static str)>> {
        for entry in catalog_files() {
            if let Some(kind) = self.databases().non_file_at(&entry)? {
                return Ok(Some((entry, kind)));
            }
        }
        Ok(None)
    }

    /// Fails if an entry of the catalog is no regular file. Opening a FIFO would block for ever.
    pub fn refuse_invalid_catalog_file(&self) -> Result<()> {
        match self.invalid_catalog_file()? {
            Some((entry, kind)) => Err(Error::catalog(format!(
                "cannot be opened: {:?} is {kind}, not a file. VolumeStore.check({{ repair: true }}) moves it out of the \
                 way.",
                self.databases().path_of(&entry)
            ))),
            None => Ok(()),
        }
    }

    /// Removes the rights of other users on the catalog's files. The catalog is created first, so that SQLite gives
    /// its other files the same mode.
    ///
    /// A failure is ignored: the directory is private.
    pub fn make_catalog_private(&self) {
        let _refused = self.databases().make_empty_file(CATALOG);
        for entry in catalog_files() {
            let _refused = self.databases().make_file_private(&entry);
        }
    }

    /// Renames an entry of the catalog's directory, of any kind, and returns its new path.
    pub fn quarantine_entry(&self, entry: &str) -> Result<PathBuf> {
        let kept = format!("{entry}{DAMAGED}{}", unique_token());
        self.databases().move_to(entry, self.databases(), &kept)?;
        self.sync.dir(self.databases())?;
        Ok(self.databases().path_of(&kept))
    }

    /// Returns the locks of the catalog.
    pub fn catalog_locks(&self) -> Result<CatalogLocks> {
        let instances = (!self.is_read_only()).then_some(CATALOG_INSTANCES);
        CatalogLocks::new(&self.catalog_file(), &self.databases, CATALOG_LOCK, instances)
    }

    /// Opens the catalog. A new one begins with the volumes that `found` returns. A catalog that a read-only file
    /// system lacks is created in memory.
    pub fn open_catalog(&self, found: impl FnOnce() -> Result<Vec<FoundVolume>>) -> Result<Catalog> {
        let locks = self.catalog_locks()?;
        if !self.is_read_only() {
            return Catalog::open(locks, found);
        }
        if !self.has_catalog()? {
            return Catalog::open_in_memory(locks, found);
        }
        let [_, _, log, _] = CATALOG_SUFFIXES;
        let length = self.databases().length_of(&format!("{CATALOG}{log}"))?;
        Catalog::open_read_only(locks, length.is_some_and(|length| length > 0), found)
    }
}
