//! Every name on disk, once.
//!
//! ```text
//! <home>/volumes/<name>/              a directory volume's data
//! <home>/volumes/<name>/disk.raw      a disk volume's image, or disk.qcow2
//! <home>/volumes/.staging/            what is being made, moved into place when whole
//! <home>/volumes/.trash/              what is being deleted
//! <home>/volumes/.ids/<name>           the volume's id, which no guest reaches; a catalog that is lost is rebuilt with it
//! <home>/volumes/.locks/<name>.lock   who changes this name now
//! <home>/volumes/.locks/<name>~quota.lock       who writes a volume with a quota now, and the volume's account
//! <home>/volumes/.locks/<name>~quota-next.lock  who is the next to
//! <home>/volumes/.locks/<name>~work.lock        who deletes the volume's content now
//! <home>/db/volumes.db                the catalog
//! <home>/db/volumes.db.lock           flock: who writes the catalog now
//! <home>/db/volumes.db.copies         record locks: the copies of us in a process, and whose turn it is
//! <home>/db/volumes.db.spare          room on the disk that the catalog needs to remove a volume from a full one
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
/// The catalog, its index of the log, its log, and the journal that SQLite looks for in place of one; in this order they
/// are moved.
pub(super) const CATALOG_SUFFIXES: [&str; 4] = ["", "-shm", "-wal", "-journal"];
const CATALOG_LOCK: &str = "volumes.db.lock";
const CATALOG_COPIES: &str = "volumes.db.copies";
const CATALOG_SPARE: &str = "volumes.db.spare";
/// What stands in for "kept because it was damaged" in the name of what was moved out of the way.
pub(super) const DAMAGED: &str = ".damaged-";

/// Room for what lets go of something to write to the catalog, once, and for how many of that are set aside.
const SPARE_BYTES: i64 = 16 << 10;
const SPARES: i64 = 4;

/// A disk volume's image, by its format.
const RAW_IMAGE: &str = "disk.raw";
const QCOW2_IMAGE: &str = "disk.qcow2";

/// Stands between a volume's name and a token in staging and trash entries; no name holds it.
pub(super) const SEPARATOR: char = '~';

/// What stood at the store's own places.
pub type HomeFileIds = [Option<FileId>; 6];

/// Entries that are not what they have to be, each with what it is.
pub type UnfitEntries = Vec<(&'static str, &'static str)>;

/// Whether a change of a volume waits until its directories are on disk. The catalog always does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// It does: what was acknowledged survives a power cut.
    Full,
    /// It does not. A power cut may leave a volume's record without its directory, a directory without its record or a part
    /// of what was in it, or a new disk without its file system.
    Fast,
}

/// The store's own directories.
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
    /// Opens the directories below `home`, making what is missing with mode 0700, so that other users of the
    /// host have no way in, and puts their entries on disk. What a read-only file system lacks counts as empty.
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
        // SQLite has a file of the catalog in memory. Where this is refused, only a disk without any room is at issue.
        let _refused = layout.databases.write_files_in_place();
        layout.put_on_disk(&layout.volumes)?;
        layout.put_on_disk(&layout.home)?;
        Ok(layout)
    }

    /// The same for a home that has volumes; none where there is no such home.
    pub fn open_existing(home: &Path, durability: Durability) -> Result<Option<Self>> {
        let has_volumes = match Dir::open_ambient(home) {
            Err(error) if error.is_refusal(&[Errno::ENOENT]) => false,
            opened => opened?.contains(VOLUMES)?,
        };
        has_volumes.then(|| HomeDirs::open(home, durability)).transpose()
    }

    /// The volumes directory of a home, and what stands in place of the store's own directories in it and is none: each
    /// entry with its kind. Returns `None` if there are no volumes.
    pub fn unfit_directories(home: &Path) -> Result<Option<(Dir, UnfitEntries)>> {
        let is_missing = |error: &Error| error.is_refusal(&[Errno::ENOENT]);
        let volumes = match Dir::open_ambient(home).and_then(|home| home.open_child(VOLUMES)) {
            Err(error) if is_missing(&error) => return Ok(None),
            opened => opened?,
        };
        let mut unfit = Vec::new();
        for entry in [STAGING, TRASH, IDS, LOCKS] {
            unfit.extend(volumes.unfit_for_directory(entry)?.map(|kind| (entry, kind)));
        }
        Ok(Some((volumes, unfit)))
    }

    /// Whether the home's file system is read-only, so that nothing can be changed.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Whether there is a catalog. An empty file is none: it is one that is being made.
    pub fn has_catalog(&self) -> Result<bool> {
        Ok(self.databases.length_of(CATALOG)?.is_some_and(|length| length > 0))
    }

    /// Whether a file is the catalog's, by whatever name. Closing one would take SQLite's locks from this process.
    pub fn is_catalogs(&self, id: FileId) -> Result<bool> {
        let mut own = CATALOG_SUFFIXES.iter().map(|suffix| format!("{CATALOG}{suffix}"));
        own.try_fold(false, |found, entry| {
            Ok(found || FileId::at(&self.databases.path_of(&entry))? == Some(id))
        })
    }

    /// Moves the catalog out of the way, with its log, and gives the path where it is kept.
    pub fn put_catalog_aside(&self) -> Result<PathBuf> {
        let _alone = self.catalog_writers()(Instant::now() + LONGEST_WAIT)?;
        let kept = format!("{CATALOG}{DAMAGED}{}", unique_token());
        for suffix in CATALOG_SUFFIXES {
            let entry = format!("{CATALOG}{suffix}");
            if self.databases.contains(&entry)? {
                self.databases.move_to(&entry, &self.databases, &format!("{kept}{suffix}"))?;
            }
        }
        self.put_on_disk(&self.databases)?;
        Ok(self.databases.path_of(&kept))
    }

    /// The catalog's path.
    pub fn catalog_path(&self) -> PathBuf {
        self.databases.path_of(CATALOG)
    }

    /// Where SQLite finds the catalog: it follows no link, also none that leads to the home.
    pub fn catalog_file(&self) -> PathBuf {
        self.databases.real_path().join(CATALOG)
    }

    /// What stands now where the store's own files and directories are looked for.
    pub fn places(&self) -> Result<HomeFileIds> {
        let dirs = [&self.volumes, &self.staging, &self.trash, &self.ids, &self.locks].map(Dir::path);
        let catalog = self.catalog_path();
        let mut places = HomeFileIds::default();
        for (place, path) in places.iter_mut().zip([catalog.as_path()].into_iter().chain(dirs)) {
            *place = FileId::at(path)?;
        }
        Ok(places)
    }

    /// Who is let in to the catalog.
    pub fn catalog_gates(&self) -> Result<CatalogLocks> {
        let (writers, path) = (self.catalog_writers(), self.catalog_file());
        let file = Box::new(move || {
            let file = FileId::at(&path).ok().flatten();
            file.map(|file| (file.device(), file.inode()))
        });
        let copy = match self.read_only {
            true => None,
            false => AddonInstance::announce(&self.databases, CATALOG_COPIES)?,
        };
        let Some(copy) = copy else {
            let (copies, has_copies): (CatalogLock, _) = (Box::new(|_| Ok(Box::new(()))), Box::new(|| false));
            return Ok(CatalogLocks { writers, copies, has_copies, file });
        };
        let asked = copy.clone();
        Ok(CatalogLocks {
            writers,
            copies: Box::new(move |deadline| {
                let wait = deadline.saturating_duration_since(Instant::now());
                match copy.enter(wait)? {
                    Some(entered) => Ok(Box::new(entered)),
                    None => {
                        Err(Error::catalog("is in use by another copy of sandbox-volumes. Try again later."))
                    }
                }
            }),
            has_copies: Box::new(move || asked.has_others().unwrap_or(true)),
            file,
        })
    }

    /// Lets one writer of the catalog in at a time.
    fn catalog_writers(&self) -> CatalogLock {
        let databases = self.databases.clone();
        Box::new(move |deadline| {
            let wait = deadline.saturating_duration_since(Instant::now());
            match FileLock::acquire(&databases, CATALOG_LOCK, wait, || Ok(()))? {
                Some(lock) => Ok(Box::new(lock)),
                None => Err(Error::catalog("is being written by another process. Try again later.")),
            }
        })
    }

    /// Puts the catalog's directory entry on disk.
    pub fn sync_catalog_directory(&self) -> Result<()> {
        self.put_on_disk(&self.databases)
    }

    /// Sets room aside for what has to be written where the disk is full. Where there is none now, or the file system
    /// cannot, the next one to open the store tries again.
    pub fn keep_spare(&self) {
        let _spare = self.databases.open_or_create_file(CATALOG_SPARE).map(|file| {
            // As much of it as there is room for.
            (1..=SPARES).try_for_each(|spares| reserve(file.as_fd(), spares * SPARE_BYTES))
        });
    }

    /// Gives some of that room back to the disk; false where there was none.
    pub fn give_up_spare(&self) -> Result<bool> {
        let file = self.databases.open_or_create_file(CATALOG_SPARE)?;
        release(file.as_fd(), SPARE_BYTES)
            .map_err(|error| Error::file_system("ftruncate", self.databases.path_of(CATALOG_SPARE), error))
    }

    /// Puts a directory's entries on disk, where the store was opened so.
    pub fn put_on_disk(&self, dir: &Dir) -> Result<()> {
        match self.durability {
            Durability::Full if !self.read_only => dir.sync(),
            _ => Ok(()),
        }
    }

    /// Puts all of a directory's file system on disk, where the store was opened so: a subvolume's limit has no
    /// other way there.
    pub fn put_file_system_on_disk(&self, dir: &Dir) -> Result<()> {
        match self.durability {
            Durability::Full => dir.sync_file_system(),
            Durability::Fast => Ok(()),
        }
    }

    /// Puts a file's content on disk, where the store was opened so.
    pub fn put_file_on_disk(&self, file: &File, path: &Path) -> Result<()> {
        match self.durability {
            Durability::Full => file.sync_all().map_err(|error| Error::file_system("fsync", path, error)),
            Durability::Fast => Ok(()),
        }
    }

    /// The directory of the catalogs, ours and microsandbox's.
    pub fn databases(&self) -> &Dir {
        &self.databases
    }

    /// The directories that no sandbox may be given.
    pub fn private_directories(&self) -> [&Path; 2] {
        [self.volumes.path(), self.databases.path()]
    }
}

/// Where a volume's data is, for callers who want to know; the store opens it by descriptor.
pub fn data_path(home: &Path, name: &VolumeName) -> PathBuf {
    home.join(VOLUMES).join(name.as_str())
}

/// The entry of a disk volume's image in the volume's directory.
pub fn image_entry(format: DiskFormat) -> &'static str {
    match format {
        DiskFormat::Qcow2 => QCOW2_IMAGE,
        DiskFormat::Raw | DiskFormat::Vmdk => RAW_IMAGE,
    }
}

/// The entries of the catalog's files.
pub(super) fn catalog_files() -> impl Iterator<Item = String> {
    let sqlites = CATALOG_SUFFIXES.iter().map(|suffix| format!("{CATALOG}{suffix}"));
    sqlites.chain([CATALOG_LOCK, CATALOG_COPIES, CATALOG_SPARE].map(str::to_owned))
}

/// A new entry for `name` in the staging or trash directory.
pub fn new_entry(name: &VolumeName) -> String {
    format!("{name}{SEPARATOR}{}", unique_token())
}

/// Whose an entry of the staging or trash directory is.
#[derive(PartialEq, Eq)]
pub enum EntryOwner {
    /// A volume's, which is being made or deleted.
    Volume(VolumeName),
    /// A file's, which is being written.
    File,
    /// A file's that is just being put in place by a clone of it.
    Cloned(ReflinkRename),
    /// Nobody's that we know.
    Unrecognized,
}

impl EntryOwner {
    /// Tells by the entry's name. Only a stranger's may hold more than one path component.
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
