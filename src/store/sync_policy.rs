//! Which changes of a home are flushed to disk before an operation returns.

use crate::error::{Error, Result};
use crate::sys::Dir;
use std::fs::File;
use std::path::Path;

/// When a change of a volume is flushed to disk. The catalog is always flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// Before the operation returns: an acknowledged change survives a power failure.
    Full,
    /// Later. A power failure may leave a volume's record without its directory, or a directory without its record.
    /// It may lose a part of a directory's content, or the file system of a new disk.
    Fast,
}

/// Flushes changes of a home as its durability demands.
#[derive(Clone, Copy, Debug)]
pub struct SyncPolicy {
    durability: Durability,
    read_only: bool,
}

impl SyncPolicy {
    /// Returns the policy of a home. `read_only` is true if its file system is read-only.
    pub fn new(durability: Durability, read_only: bool) -> Self {
        SyncPolicy { durability, read_only }
    }

    /// Flushes a directory's entries if the store is durable.
    pub fn dir(&self, dir: &Dir) -> Result<()> {
        match self.durability {
            Durability::Full if !self.read_only => dir.sync(),
            _ => Ok(()),
        }
    }

    /// Flushes the whole file system of a directory if the store is durable. A subvolume's limit is flushed in no
    /// other way.
    pub fn file_system(&self, dir: &Dir) -> Result<()> {
        match self.durability {
            Durability::Full => dir.sync_file_system(),
            Durability::Fast => Ok(()),
        }
    }

    /// Flushes a file's content if the store is durable.
    pub fn file(&self, file: &File, path: &Path) -> Result<()> {
        match self.durability {
            Durability::Full => file.sync_all().map_err(|error| Error::file_system("fsync", path, error)),
            Durability::Fast => Ok(()),
        }
    }
}
