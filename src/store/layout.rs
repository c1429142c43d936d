//! Names on disk, each spelled once.
//!
//! ```text
//! <home>/volumes/<name>/              a directory volume's data
//! <home>/volumes/<name>/disk.raw      a disk volume's image, or disk.qcow2
//! <home>/volumes/.staging/            what is being created, renamed into place when complete
//! <home>/volumes/.trash/              what is being deleted
//! <home>/volumes/.ids/<name>          the volume's id; a lost catalog is rebuilt with it
//! <home>/volumes/.locks/<name>.lock   the name lock
//! <home>/volumes/.locks/<name>~quota.lock       the quota lock, and the volume's usage file
//! <home>/volumes/.locks/<name>~quota-next.lock  the lock of the next writer
//! <home>/volumes/.locks/<name>~work.lock        the work lock
//! <home>/db/volumes.db                the catalog
//! <home>/db/volumes.db.lock           flock of the catalog's writer
//! <home>/db/volumes.db.copies         record locks of the instances in a process
//! <home>/db/volumes.db.spare          reserve: space for the catalog on a full disk
//! ```

use crate::catalog::{CatalogLock, CatalogLocks};
use crate::error::{Error, Result};
use crate::model::{DiskFormat, VolumeName};
use crate::sync::LONGEST_WAIT;
use crate::sys::{AddonInstance, Dir, FileId, FileLock, ReflinkRename, release, reserve, unique_token};
use nix::errno::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

const VOLUMES: &str = "volumes";
const STAGING: &str = ".staging";
const TRASH: &str = ".trash";
const IDS: &str = ".ids";
const LOCKS: &str = ".locks";
const DATABASES: &str = "db";
pub(super) const CATALOG: &str = "volumes.db";
/// Suffixes of the catalog's files: the database, the index of its log, the log, and the rollback journal. Files are
/// moved in this order.
pub(super) const CATALOG_SUFFIXES: [&str; 4] = ["", "-shm", "-wal", "-journal"];
const CATALOG_LOCK: &str = "volumes.db.lock";
const CATALOG_INSTANCES: &str = "volumes.db.copies";
const CATALOG_RESERVE: &str = "volumes.db.spare";
/// Infix in the name of an entry that was renamed because it was damaged.
pub(super) const DAMAGED: &str = ".damaged-";

/// Bytes of one reserved transaction that frees resources, and the number of reserved transactions.
const RESERVE_STEP_BYTES: i64 = 16 << 10;
const MAX_RESERVE_STEPS: i64 = 4;

/// Entry of a disk volume's image, by format.
const RAW_IMAGE: &str = "disk.raw";
const QCOW2_IMAGE: &str = "disk.qcow2";

/// Separates a volume's name from a suffix. No volume name contains it.
pub(super) const SEPARATOR: char = '~';

/// Ids of the catalog and the store's directories.
pub type HomeFileIds = [Option<FileId>; 6];

/// Entries of a wrong kind, each with that kind.
pub type InvalidEntries = Vec<(&'static str, &'static str)>;

/// When a change of a volume is flushed to disk. The catalog is always flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Before the operation returns: an acknowledged change survives a power failure.
    Full,
    /// Later. A power failure may leave a volume's record without its directory, or a directory without its record.
    /// It may lose a part of a directory's content, or the file system of a new disk.
    Fast,
}

/// The directories of a home.
#[derive(Debug)]
pub struct HomeDirs {
    pub volumes: Dir,
    pub staging: Dir,
    pub trash: Dir,
    pub ids: Dir,
    pub home: Dir,
    pub locks: Dir,
    databases: Arc<Dir>,
    durability: Durability,
    read_only: bool,
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
        let layout = HomeDirs {
            staging: volumes.open_child_or_none(STAGING)?,
            trash: volumes.open_child_or_none(TRASH)?,
            ids: volumes.open_child_or_none(IDS)?,
            locks: volumes.open_child_or_none(LOCKS)?,
            read_only: databases.is_read_only()?,
            databases: Arc::new(databases),
            volumes,
            home,
            durability,
        };
        if layout.read_only {
            return Ok(layout);
        }
        // SQLite maps a file of the catalog into memory. If this call fails, only a completely full disk is affected.
        let _refused = layout.databases.write_files_in_place();
        layout.sync_dir(&layout.volumes)?;
        layout.sync_dir(&layout.home)?;
        Ok(layout)
    }

    /// Opens the directories of a home that has volumes. Returns `None` if the home has no volumes directory.
    pub fn open_existing(home: &Path, durability: Durability) -> Result<Option<Self>> {
        let has_volumes = match Dir::open_ambient(home) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => false,
            opened => opened?.contains(VOLUMES)?,
        };
        has_volumes.then(|| HomeDirs::open(home, durability)).transpose()
    }

    /// Returns the volumes directory, and the entries in it that should be the store's own directories and are not.
    /// Returns `None` if the home has no volumes directory.
    pub fn invalid_directories(home: &Path) -> Result<Option<(Dir, InvalidEntries)>> {
        let is_missing = |error: &Error| error.is_refusal(&[Errno::ENOENT]);
        let volumes = match Dir::open_ambient(home).and_then(|home| home.open_child(VOLUMES)) {
            Err(error) if is_missing(&error) => return Ok(None),
            opened => opened?,
        };
        let mut invalid = Vec::new();
        for entry in [STAGING, TRASH, IDS, LOCKS] {
            invalid.extend(volumes.unfit_for_directory(entry)?.map(|kind| (entry, kind)));
        }
        Ok(Some((volumes, invalid)))
    }

    /// Returns true if the home's file system is read-only.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

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
        let _lock = self.catalog_write_lock()(Instant::now() + LONGEST_WAIT)?;
        let kept = format!("{CATALOG}{DAMAGED}{}", unique_token());
        for suffix in CATALOG_SUFFIXES {
            let entry = format!("{CATALOG}{suffix}");
            if self.databases.contains(&entry)? {
                self.databases.move_to(&entry, &self.databases, &format!("{kept}{suffix}"))?;
            }
        }
        self.sync_dir(&self.databases)?;
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

    /// Returns the ids of the files and directories that are now at the paths of the store.
    pub fn file_ids(&self) -> Result<HomeFileIds> {
        let dirs = [&self.volumes, &self.staging, &self.trash, &self.ids, &self.locks].map(Dir::path);
        let catalog = self.catalog_path();
        let mut ids = HomeFileIds::default();
        for (id, path) in ids.iter_mut().zip([catalog.as_path()].into_iter().chain(dirs)) {
            *id = FileId::at(path)?;
        }
        Ok(ids)
    }

    /// Returns the locks of the catalog.
    pub fn catalog_locks(&self) -> Result<CatalogLocks> {
        let (writers, path) = (self.catalog_write_lock(), self.catalog_file());
        let file = Box::new(move || {
            let file = FileId::at(&path).ok().flatten();
            file.map(|file| (file.device(), file.inode()))
        });
        let instance = match self.read_only {
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
    fn catalog_write_lock(&self) -> CatalogLock {
        let databases = self.databases.clone();
        Box::new(move |deadline| {
            let wait = deadline.saturating_duration_since(Instant::now());
            match FileLock::acquire(&databases, CATALOG_LOCK, wait, || Ok(()))? {
                Some(lock) => Ok(Box::new(lock)),
                None => Err(Error::catalog("is being written by another process. Try again later.")),
            }
        })
    }

    /// Flushes the catalog's directory entry.
    pub fn sync_catalog_directory(&self) -> Result<()> {
        self.sync_dir(&self.databases)
    }

    /// Fills the reserve file, which frees space for the catalog on a full disk. If that fails now, the next opening
    /// of the store tries again.
    pub fn fill_reserve(&self) {
        let _reserved = self.databases.open_or_create_file(CATALOG_RESERVE).map(|file| {
            // As many transactions as fit.
            (1..=MAX_RESERVE_STEPS).try_for_each(|steps| reserve(file.as_fd(), steps * RESERVE_STEP_BYTES))
        });
    }

    /// Frees a part of the reserve. Returns false if the reserve is empty.
    pub fn release_reserve(&self) -> Result<bool> {
        let file = self.databases.open_or_create_file(CATALOG_RESERVE)?;
        release(file.as_fd(), RESERVE_STEP_BYTES)
            .map_err(|error| Error::file_system("ftruncate", self.databases.path_of(CATALOG_RESERVE), error))
    }

    /// Flushes a directory's entries if the store is durable.
    pub fn sync_dir(&self, dir: &Dir) -> Result<()> {
        match self.durability {
            Durability::Full if !self.read_only => dir.sync(),
            _ => Ok(()),
        }
    }

    /// Flushes the whole file system of a directory if the store is durable. A subvolume's limit is flushed in no
    /// other way.
    pub fn sync_file_system_of(&self, dir: &Dir) -> Result<()> {
        match self.durability {
            Durability::Full => dir.sync_file_system(),
            Durability::Fast => Ok(()),
        }
    }

    /// Flushes a file's content if the store is durable.
    pub fn sync_file(&self, file: &File, path: &Path) -> Result<()> {
        match self.durability {
            Durability::Full => file.sync_all().map_err(|error| Error::file_system("fsync", path, error)),
            Durability::Fast => Ok(()),
        }
    }

    /// Returns the directory of the catalogs, this store's and microsandbox's.
    pub fn databases(&self) -> &Dir {
        &self.databases
    }

    /// Returns the directories that no mount may overlap.
    pub fn private_directories(&self) -> [&Path; 2] {
        [self.volumes.path(), self.databases.path()]
    }
}

/// Returns the path of a volume's data, for callers. The store itself opens the directory by descriptor.
pub fn data_path(home: &Path, name: &VolumeName) -> PathBuf {
    home.join(VOLUMES).join(name.as_str())
}

/// Returns the entry of a disk volume's image in the volume's directory.
pub fn image_entry(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => QCOW2_IMAGE,
        DiskFormat::Raw | DiskFormat::Vmdk => RAW_IMAGE,
    }
}

/// Returns the entries of the catalog's files.
pub(super) fn catalog_files() -> impl Iterator<Item = String> {
    let sqlite_files = CATALOG_SUFFIXES.iter().map(|suffix| format!("{CATALOG}{suffix}"));
    sqlite_files.chain([CATALOG_LOCK, CATALOG_INSTANCES, CATALOG_RESERVE].map(str::to_owned))
}

/// Returns a new entry for `name` in the staging or trash directory.
pub fn new_entry(name: &VolumeName) -> String {
    format!("{name}{SEPARATOR}{}", unique_token())
}

/// Owner of an entry of the staging or trash directory.
#[derive(PartialEq, Eq)]
pub enum EntryOwner {
    /// A volume that is being created or deleted.
    Volume(VolumeName),
    /// A temp file that is being written.
    File,
    /// A temp file whose clone is being renamed into place.
    Cloned(ReflinkRename),
    /// Unknown.
    Unrecognized,
}

impl EntryOwner {
    /// Parses the name of an entry. Only an unrecognized name may contain more than one path component.
    pub fn of(entry: &str) -> Self {
        let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
        let is_token = |text: &str| text.split('-').count() == 3 && text.split('-').all(is_number);
        match entry.split_once(SEPARATOR) {
            Some((name, token)) if is_token(token) => {
                VolumeName::parse(name).map_or(EntryOwner::Unrecognized, EntryOwner::Volume)
            }
            None if is_token(entry) => EntryOwner::File,
            None => match ReflinkRename::of_record(entry) {
                Some(clone) if is_token(clone.token()) => EntryOwner::Cloned(clone),
                _ => EntryOwner::Unrecognized,
            },
            _ => EntryOwner::Unrecognized,
        }
    }
}
