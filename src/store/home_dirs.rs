//! The open directories of a home.

use super::catalog_reserve::CatalogReserve;
use super::paths::{DATABASES, IDS, LOCKS, STAGING, TRASH, VOLUMES};
use super::sync_policy::{Durability, SyncPolicy};
use super::volume::name_locks::NameLocks;
use crate::error::{Errno, Error, Result};
use crate::sys::{Dir, FileId};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Ids of the catalog and the store's directories.
pub type HomeFileIds = [Option<FileId>; 6];

/// Entries of a wrong kind, each with that kind.
pub type InvalidEntries = Vec<(&'static str, &'static str)>;

/// The directories of a home.
#[derive(Debug)]
pub struct HomeDirs {
    pub volumes: Dir,
    pub staging: Arc<Dir>,
    pub trash: Dir,
    pub ids: Dir,
    /// True if this process created `ids`: the home is new, or the directory was deleted.
    pub ids_are_new: bool,
    pub home: Dir,
    pub locks: NameLocks,
    pub sync: SyncPolicy,
    pub reserve: CatalogReserve,
    pub(super) databases: Arc<Dir>,
    read_only: bool,
    /// When the volumes directory of a read-only home was last changed before it was opened.
    opened_at: Option<(i64, i64)>,
}

impl HomeDirs {
    /// Opens the directories below `home` and creates those that are missing, with mode 0700. Then flushes their
    /// entries.
    ///
    /// A directory that a read-only file system lacks is treated as empty.
    pub fn open(home: &Path, durability: Durability) -> Result<Self> {
        let home = Dir::open_or_create_ambient(home)?;
        let volumes = home.open_or_create_child(VOLUMES)?;
        let databases = home.open_child_or_none(DATABASES)?;
        let staging = volumes.open_child_or_none(STAGING)?;
        let trash = volumes.open_child_or_none(TRASH)?;
        let ids_are_new = !volumes.contains(IDS)?;
        let ids = volumes.open_child_or_none(IDS)?;
        let locks = volumes.open_child_or_none(LOCKS)?;
        let read_only = databases.is_read_only()?;
        let databases = Arc::new(databases);
        let dirs = HomeDirs {
            staging: Arc::new(staging),
            trash,
            ids,
            ids_are_new,
            locks: NameLocks::new(locks),
            reserve: CatalogReserve::new(databases.clone()),
            sync: SyncPolicy::new(durability, read_only),
            opened_at: if read_only { Some(volumes.changed_at()?) } else { None },
            databases,
            volumes,
            home,
            read_only,
        };
        if dirs.read_only {
            return Ok(dirs);
        }
        // SQLite maps a file of the catalog into memory. If this call fails, only a completely full disk is affected.
        let _refused = dirs.databases.write_files_in_place();
        dirs.sync.dir(&dirs.volumes)?;
        dirs.sync.dir(&dirs.home)?;
        Ok(dirs)
    }

    /// Opens the directories of a home that has volumes. Returns `None` if the home has no volumes directory.
    pub fn open_existing(home: &Path, durability: Durability) -> Result<Option<Self>> {
        let has_volumes = match Dir::open_ambient(home) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => false,
            opened => opened?.contains(VOLUMES)?,
        };
        has_volumes.then(|| HomeDirs::open(home, durability)).transpose()
    }

    /// Opens a home, its volumes directory and, if it exists, its catalog directory. Creates nothing. Returns `None` if
    /// the home has no volumes directory.
    pub fn open_guarded(home: &Path) -> Result<Option<(Dir, Dir, Option<Dir>)>> {
        let is_missing = |error: &Error| error.is_refusal(&[Errno::ENOENT]);
        let opened = Dir::open_ambient(home).and_then(|home| Ok((home.open_child(VOLUMES)?, home)));
        let (volumes, home) = match opened {
            Err(error) if is_missing(&error) => return Ok(None),
            opened => opened?,
        };
        match home.open_child(DATABASES) {
            Err(error) if is_missing(&error) => Ok(Some((home, volumes, None))),
            databases => Ok(Some((home, volumes, Some(databases?)))),
        }
    }

    /// Returns the entries of a home that should be directories and are not, with their paths. Returns none if the home
    /// does not exist.
    pub fn invalid_home_entries(home: &Path) -> Result<Vec<(PathBuf, &'static str)>> {
        let home = match Dir::open_ambient(home) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => return Ok(Vec::new()),
            opened => opened?,
        };
        let mut invalid = Vec::new();
        for entry in [VOLUMES, DATABASES] {
            invalid.extend(home.non_directory_at(entry)?.map(|kind| (home.path_of(entry), kind)));
        }
        Ok(invalid)
    }

    /// Returns the entries in the volumes directory that should be the store's own directories and are not.
    pub fn invalid_directories(volumes: &Dir) -> Result<InvalidEntries> {
        let mut invalid = Vec::new();
        for entry in [STAGING, TRASH, IDS, LOCKS] {
            invalid.extend(volumes.non_directory_at(entry)?.map(|kind| (entry, kind)));
        }
        Ok(invalid)
    }

    /// Returns false if volumes may have changed since they were discovered in a read-only home without a catalog.
    pub fn is_as_discovered(&self) -> Result<bool> {
        match self.opened_at {
            Some(opened_at) if !self.has_catalog()? => Ok(self.volumes.changed_at()? == opened_at),
            _ => Ok(true),
        }
    }

    /// Returns true if the home's file system is read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Returns the ids of the files and directories that are now at the paths of the store.
    pub fn file_ids(&self) -> Result<HomeFileIds> {
        let paths = [&self.volumes, &*self.staging, &self.trash, &self.ids, self.locks.dir()].map(Dir::path);
        let catalog = self.catalog_path();
        let mut ids = HomeFileIds::default();
        for (id, path) in ids.iter_mut().zip([catalog.as_path()].into_iter().chain(paths)) {
            *id = FileId::at(path)?;
        }
        Ok(ids)
    }

    /// Returns the directory of the catalogs, this store's and microsandbox's.
    pub fn databases(&self) -> &Dir {
        &self.databases
    }

    /// Returns the existing directories that no mount may overlap.
    pub fn private_directories(&self) -> impl Iterator<Item = &Path> {
        [&self.volumes, &*self.databases].into_iter().filter(|dir| !dir.is_missing()).map(Dir::path)
    }
}
