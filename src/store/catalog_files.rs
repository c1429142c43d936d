//! The catalog's files before SQLite opens them: their kinds and their rights.

use super::layout::{CATALOG, CATALOG_SUFFIXES, DAMAGED, HomeDirs, catalog_files};
use crate::catalog::{Catalog, FoundVolume};
use crate::error::{Error, Result};
use crate::sys::unique_token;
use std::path::PathBuf;

impl HomeDirs {
    /// Returns the first entry of the catalog that exists and is no regular file, with its kind.
    pub fn invalid_catalog_file(&self) -> Result<Option<(String, &'static str)>> {
        for entry in catalog_files() {
            if let Some(kind) = self.databases().unfit_for_file(&entry)? {
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
        self.sync_dir(self.databases())?;
        Ok(self.databases().path_of(&kept))
    }

    /// Opens the catalog. A new one begins with the volumes that `found` returns. A catalog that a read-only file
    /// system lacks is created in memory.
    pub fn open_catalog(&self, found: impl FnOnce() -> Result<Vec<FoundVolume>>) -> Result<Catalog> {
        let (path, gates) = (self.catalog_file(), self.catalog_locks()?);
        if !self.is_read_only() {
            return Catalog::open(&path, gates, found);
        }
        if !self.has_catalog()? {
            return Catalog::open_in_memory(&path, gates, found);
        }
        let [_, _, log, _] = CATALOG_SUFFIXES;
        let length = self.databases().length_of(&format!("{CATALOG}{log}"))?;
        Catalog::open_read_only(&path, length.is_some_and(|length| length > 0), gates, found)
    }
}
