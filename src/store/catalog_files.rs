//! The catalog's files, before they are opened: whether they are files, and whose.

use super::layout::{CATALOG, CATALOG_SUFFIXES, DAMAGED, HomeDirs, catalog_files};
use crate::catalog::{Catalog, FoundVolume};
use crate::error::{Error, Result};
use crate::sys::unique_token;
use std::path::PathBuf;

impl HomeDirs {
    /// What stands in place of one of the catalog's files and is none: its entry and its kind.
    pub fn unfit_catalog_file(&self) -> Result<Option<(String, &'static str)>> {
        for entry in catalog_files() {
            if let Some(kind) = self.databases().unfit_for_file(&entry)? {
                return Ok(Some((entry, kind)));
            }
        }
        Ok(None)
    }

    /// Refuses what no file of the catalog can be opened as, before it is opened: a FIFO would wait for ever.
    pub fn refuse_unfit_catalog(&self) -> Result<()> {
        match self.unfit_catalog_file()? {
            Some((entry, kind)) => Err(Error::catalog(format!(
                "cannot be opened: {:?} is {kind}, not a file. VolumeStore.check({{ repair: true }}) moves it out of the \
                 way.",
                self.databases().path_of(&entry)
            ))),
            None => Ok(()),
        }
    }

    /// Leaves other users no right on the catalog's files, and makes the catalog's own first, so that SQLite makes the
    /// others like it. What is refused is behind a directory that is private.
    pub fn make_catalog_private(&self) {
        let _refused = self.databases().make_empty_file(CATALOG);
        for entry in catalog_files() {
            let _refused = self.databases().make_file_private(&entry);
        }
    }

    /// Moves an entry of the catalog's directory out of the way, whatever it is, and returns where it is kept.
    pub fn put_entry_aside(&self, entry: &str) -> Result<PathBuf> {
        let kept = format!("{entry}{DAMAGED}{}", unique_token());
        self.databases().move_to(entry, self.databases(), &kept)?;
        self.put_on_disk(self.databases())?;
        Ok(self.databases().path_of(&kept))
    }

    /// Opens the catalog; a new one begins with the volumes that `found` returns. On a read-only file system that has none,
    /// it is in memory.
    pub fn open_catalog(&self, found: impl FnOnce() -> Result<Vec<FoundVolume>>) -> Result<Catalog> {
        let (path, gates) = (self.catalog_file(), self.catalog_gates()?);
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
