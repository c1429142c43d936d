//! The catalog of volumes: all SQL of the store, and only SQL.
//!
//! While a volume is created or removed, its row has an *intent*. Only rows without an intent are listed, so a caller
//! never sees an incomplete volume.

#![forbid(unsafe_code)]

mod attachments;
mod failure;
mod holders;
mod host_mounts;
mod intents;
mod locks;
mod msb;
mod open;
mod pool;
mod read_only;
mod retained;
mod schema;
mod verify;
mod volumes;

pub use attachments::{AttachedImage, AttachedVolume, AttachmentRecord, NewAttachment};
pub use failure::{is_damage, may_lack_room};
pub use holders::{HeldResource, HolderRow, ImageLease};
pub use host_mounts::HostMountRow;
pub use intents::{Action, Intent};
pub use locks::{CatalogLocks, exclude_writers};
pub use msb::{ActiveSandbox, MountedSource, MsbCatalog, MsbVolume};
pub use verify::{damaged, restore_version};
pub use volumes::{FoundVolume, InvalidRow};

use crate::error::Result;
use crate::sync::LOCK_TIMEOUT;
use crate::sys::FileId;
use failure::is_busy;
use pool::ConnectionPool;
use rusqlite::{Connection, TransactionBehavior};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for which a reader waits for writers. After that it leaves its write to a later operation.
const READER_TIMEOUT: Duration = Duration::from_millis(200);

/// Pause between two tries to get a lock for which SQLite does not wait.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// An open catalog.
///
/// Every commit is on disk when it returns. Reads do not wait for writers. If this process has other instances, each
/// read and each write excludes the others for a short time.
pub struct Catalog {
    file: Option<FileId>,
    /// Data version of the file when it was copied into memory. `None` if reads use the file itself.
    copied: Option<i64>,
    writer: ConnectionPool,
    readers: ConnectionPool,
    locks: Arc<CatalogLocks>,
}

/// Read access to one snapshot.
pub struct CatalogReader<'c>(&'c Connection);

/// Write access within one transaction.
pub struct CatalogWriter<'c>(rusqlite::Transaction<'c>);

impl Catalog {
    /// Fails if any part of the catalog is damaged.
    pub fn verify(&self) -> Result<()> {
        self.read(|catalog| verify::check_pages(catalog.0).and_then(|()| verify::check_tables(catalog.0)))
    }

    /// Runs `read` on a snapshot.
    pub fn read<T>(&self, read: impl FnOnce(&CatalogReader<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        self.readers.with(deadline, |connection| {
            let _instance_lock = self.locks.exclude_instances(deadline)?;
            verify::limit_steps(connection)?;
            let snapshot = connection.transaction()?;
            read(&CatalogReader(&snapshot))
        })
    }

    /// Runs a checkpoint, so that the log is written from its beginning and does not grow.
    pub fn checkpoint_wal(&self) -> Result<()> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        self.writer.with(deadline, |connection| {
            let _write_lock = self.locks.exclude_writers(deadline)?;
            let _instance_lock = self.locks.exclude_instances(deadline)?;
            connection.busy_timeout(Duration::ZERO)?;
            Ok(connection.query_row("PRAGMA wal_checkpoint(RESTART)", (), |_| Ok(()))?)
        })
    }

    /// Fails if a write cannot begin within the time that a reader waits.
    pub fn check_writable_soon(&self) -> Result<()> {
        let deadline = Instant::now() + READER_TIMEOUT;
        self.writer.with(deadline, |connection| {
            let _write_lock = self.locks.exclude_writers(deadline)?;
            let _instance_lock = self.locks.exclude_instances(deadline)?;
            connection.busy_timeout(READER_TIMEOUT)?;
            Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()?)
        })
    }

    /// Runs `body` while other instances and processes do not write the catalog. It must not write itself.
    pub fn excluding_writers<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let _write_lock = self.locks.exclude_writers(Instant::now() + LOCK_TIMEOUT)?;
        body()
    }

    /// Runs `write` as one transaction. Commits it if `write` succeeds, and rolls it back if `write` fails.
    pub fn write<T>(&self, write: impl FnOnce(&CatalogWriter<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        self.writer.with(deadline, |connection| {
            let _write_lock = self.locks.exclude_writers(deadline)?;
            // While another program writes, the other instances in this process can read.
            connection.busy_timeout(Duration::ZERO)?;
            verify::limit_steps(connection)?;
            let (_instance_lock, transaction) = loop {
                let instance_lock = self.locks.exclude_instances(deadline)?;
                match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
                    Err(error) if is_busy(&error) && Instant::now() < deadline => {
                        drop(instance_lock);
                        std::thread::sleep(BUSY_PAUSE);
                    }
                    begun => break (instance_lock, begun?),
                }
            };
            let writer = CatalogWriter(transaction);
            let result = write(&writer)?;
            writer.0.commit()?;
            Ok(result)
        })
    }
}

impl Drop for Catalog {
    fn drop(&mut self) {
        let connections = [self.writer.take_all(), self.readers.take_all()].into_iter().flatten().collect();
        retained::close(&self.locks, self.file, connections);
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl CatalogWriter<'_> {
    /// Returns read access within this transaction.
    pub fn reader(&self) -> CatalogReader<'_> {
        CatalogReader(&self.0)
    }
}
