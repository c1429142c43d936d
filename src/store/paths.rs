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

use crate::model::{DiskFormat, VolumeName};
use crate::sys::{ReflinkRename, unique_token};
use std::path::{Path, PathBuf};

pub(super) const VOLUMES: &str = "volumes";
pub(super) const STAGING: &str = ".staging";
pub(super) const TRASH: &str = ".trash";
pub(super) const IDS: &str = ".ids";
pub(super) const LOCKS: &str = ".locks";
pub(super) const DATABASES: &str = "db";
pub(super) const CATALOG: &str = "volumes.db";
/// Suffixes of the catalog's files: the database, the index of its log, the log, and the rollback journal. Files are
/// moved in this order.
pub(super) const CATALOG_SUFFIXES: [&str; 4] = ["", "-shm", "-wal", "-journal"];
pub(super) const CATALOG_LOCK: &str = "volumes.db.lock";
pub(super) const CATALOG_INSTANCES: &str = "volumes.db.copies";
pub(super) const CATALOG_RESERVE: &str = "volumes.db.spare";
/// Infix in the name of an entry that was renamed because it was damaged.
pub(super) const DAMAGED: &str = ".damaged-";

/// Entry of a disk volume's image, by format.
const RAW_IMAGE: &str = "disk.raw";
const QCOW2_IMAGE: &str = "disk.qcow2";

/// Separates a volume's name from a suffix. No volume name contains it.
pub(super) const SEPARATOR: char = '~';

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
