//! Locks for what SQLite's own locks leave open.

use crate::error::{Error, Result};
use crate::sys::{AddonInstance, Dir, FileId, FileLock, InstanceGuard};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The locks of one catalog.
///
/// SQLite's locks exclude other processes. They do not exclude a second SQLite in this process, which each instance of
/// the addon brings.
#[derive(Debug)]
pub struct CatalogLocks {
    path: PathBuf,
    databases: Arc<Dir>,
    write_lock: &'static str,
    /// `None` on a read-only file system, and on one without such locks.
    instance: Option<Arc<AddonInstance>>,
}

impl CatalogLocks {
    /// Returns the locks of the catalog at `path`. `write_lock` and `instances` are entries of `databases`. Without
    /// `instances`, no other instance in this process is excluded.
    pub fn new(
        path: &Path,
        databases: &Arc<Dir>,
        write_lock: &'static str,
        instances: Option<&'static str>,
    ) -> Result<Self> {
        let instance = instances.map(|entry| AddonInstance::announce(databases, entry)).transpose()?;
        Ok(CatalogLocks {
            path: path.to_owned(),
            databases: databases.clone(),
            write_lock,
            instance: instance.flatten(),
        })
    }

    /// Excludes other writers, in this process and in others. Fails if one of them is still writing at `deadline`.
    pub(super) fn exclude_writers(&self, deadline: Instant) -> Result<FileLock> {
        exclude_writers(&self.databases, self.write_lock, deadline)
    }

    /// Excludes the SQLites of other instances in this process, for a short operation. Fails if one of them is still in
    /// at `deadline`. Returns `None` if there is nothing to exclude.
    pub(super) fn exclude_instances(&self, deadline: Instant) -> Result<Option<InstanceGuard>> {
        let Some(instance) = &self.instance else { return Ok(None) };
        match instance.enter(deadline.saturating_duration_since(Instant::now()))? {
            Some(entered) => Ok(Some(entered)),
            None => Err(Error::catalog("is in use by another copy of sandbox-volumes. Try again later.")),
        }
    }

    /// Returns true if this process has other instances, or may have.
    pub(super) fn has_other_instances(&self) -> bool {
        self.instance.as_ref().is_some_and(|instance| instance.has_others().unwrap_or(true))
    }

    /// Returns the file that is at the catalog's path now.
    pub(super) fn file(&self) -> Option<FileId> {
        FileId::at(&self.path).ok().flatten()
    }

    /// Returns the catalog's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Excludes the writers of a catalog, without opening it. Fails if one of them is still writing at `deadline`.
pub fn exclude_writers(databases: &Dir, write_lock: &str, deadline: Instant) -> Result<FileLock> {
    let wait = deadline.saturating_duration_since(Instant::now());
    FileLock::acquire(databases, write_lock, wait, || Ok(()))?
        .ok_or_else(|| Error::catalog("is being written by another process. Try again later."))
}
