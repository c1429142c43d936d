//! The catalog of volumes: all SQL of the store, and only SQL.
//!
//! While a volume is created or removed, its row has an *intent*. Only rows without an intent are listed, so a caller
//! never sees an incomplete volume.

#![forbid(unsafe_code)]

mod attachments;
mod holders;
mod host_mounts;
mod intents;
mod msb;
mod pool;
mod read_only;
mod retained;
mod schema;
mod verify;
mod volumes;

pub use attachments::{AttachedImage, AttachedVolume, AttachmentRecord, NewAttachment};
pub use holders::{HeldResource, HolderRow, ImageLease};
pub use host_mounts::HostMountRow;
pub use intents::{Action, Intent};
pub use msb::{ActiveSandbox, MountedSource, MsbCatalog, MsbVolume};
pub use retained::FileNumbers;
pub use verify::{damaged, restore_version};
pub use volumes::{FoundVolume, InvalidRow};

use crate::error::{Error, Result};
use crate::sync::LOCK_TIMEOUT;
use pool::ConnectionPool;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for which an opening waits for a writer before it checks if it has to write at all.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Time for which a reader waits for writers. After that it leaves its write to a later operation.
const READER_TIMEOUT: Duration = Duration::from_millis(200);

/// Number of reads that run at once.
const MAX_READERS: usize = 2;

/// Journal mode in which readers and a writer do not wait for each other.
const WAL: &str = "wal";

/// Pause between two tries to get a lock for which SQLite does not wait.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// Acquires a lock, or fails at the deadline. Dropping the result releases the lock.
pub type CatalogLock = Box<dyn Fn(Instant) -> Result<Box<dyn Any>> + Send + Sync>;

/// Locks for what SQLite's own locks leave open.
///
/// SQLite's locks exclude other processes. The locks do not exclude a second SQLite in this process, which each instance
/// of the addon brings.
pub struct CatalogLocks {
    /// Excludes other writers, in this process and in others.
    pub writers: CatalogLock,
    /// Excludes the SQLites of other instances in this process. It is held for short operations only.
    pub instances: CatalogLock,
    /// Returns true if this process has other instances, or may have.
    pub has_other_instances: Box<dyn Fn() -> bool + Send + Sync>,
    /// Returns the file that is at the catalog's path now.
    pub file: Box<dyn Fn() -> Option<FileNumbers> + Send + Sync>,
}

/// An open catalog.
///
/// Every commit is on disk when it returns. Reads do not wait for writers. If this process has other instances, each
/// read and each write excludes the others for a short time.
pub struct Catalog {
    path: PathBuf,
    file: Option<FileNumbers>,
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
    /// Opens the catalog at `path`. Creates it, or migrates it to the newest version.
    ///
    /// A new catalog begins with the volumes that `found` returns: those of a catalog that was lost.
    pub fn open(
        path: &Path,
        locks: CatalogLocks,
        found: impl FnOnce() -> Result<Vec<FoundVolume>>,
    ) -> Result<Self> {
        let locks = Arc::new(locks);
        let deadline = Instant::now() + LOCK_TIMEOUT;
        let writing = (locks.writers)(Instant::now() + OPEN_TIMEOUT);
        let mut instance_lock = (locks.instances)(deadline)?;
        let prepare = |connection: &mut Connection| {
            schema::prepare(connection, |transaction| adopt_all(transaction, found))
        };
        let (first, write_lock) = match writing {
            Ok(write_lock) => (connect(path, &locks, prepare)?, Some(write_lock)),
            // A stopped writer must not keep readers out.
            Err(_) => match connect_to_complete(path, &locks)? {
                Some(complete) => (complete, None),
                None => {
                    drop(instance_lock);
                    let write_lock = (locks.writers)(deadline)?;
                    instance_lock = (locks.instances)(deadline)?;
                    (connect(path, &locks, prepare)?, Some(write_lock))
                }
            },
        };
        let (writer, no_readers) = (ConnectionPool::new(vec![first]), ConnectionPool::new(Vec::new()));
        let file = (locks.file)();
        let mut catalog =
            Catalog { path: path.to_owned(), file, copied: None, writer, readers: no_readers, locks };
        let readers = (0..MAX_READERS).map(|_| connect(path, &catalog.locks, |_| Ok(())));
        catalog.readers = ConnectionPool::new(readers.collect::<Result<_>>()?);
        drop((instance_lock, write_lock));
        Ok(catalog)
    }

    /// Opens the catalog at `path` on a read-only file system, where `writers` fails.
    ///
    /// A catalog of an earlier version is copied into memory and migrated there. `has_log` says that a write-ahead
    /// log exists. See [`Catalog::open`] for `found`.
    pub fn open_read_only(
        path: &Path,
        has_log: bool,
        locks: CatalogLocks,
        found: impl FnOnce() -> Result<Vec<FoundVolume>>,
    ) -> Result<Self> {
        let first = read_only::connect(path, has_log)?;
        schema::refuse_newer(&first)?;
        if !schema::is_newest(&first)? {
            // Before the copy, so that each later commit changes the number.
            let copied = read_only::data_version(&first)?;
            let copy = read_only::copy(Some(&first), |copy| adopt_all(copy, found))?;
            return Ok(Catalog::of_readers(path, first, Some(copied), vec![copy], locks));
        }
        let readers = (0..MAX_READERS).map(|_| read_only::connect(path, has_log)).collect::<Result<_>>()?;
        Ok(Catalog::of_readers(path, first, None, readers, locks))
    }

    /// Creates a catalog in memory with the volumes that `found` returns. It replaces the catalog at `path` that a
    /// read-only file system lacks.
    pub fn open_in_memory(
        path: &Path,
        locks: CatalogLocks,
        found: impl FnOnce() -> Result<Vec<FoundVolume>>,
    ) -> Result<Self> {
        let copy = read_only::copy(None, |copy| adopt_all(copy, found))?;
        // No statement writes through this connection.
        let first = Connection::open_in_memory()?;
        Ok(Catalog::of_readers(path, first, None, vec![copy], locks))
    }

    /// Builds a catalog for reading. A writer gets a connection from the pool and then fails.
    fn of_readers(
        path: &Path,
        first: Connection,
        copied: Option<i64>,
        readers: Vec<Connection>,
        locks: CatalogLocks,
    ) -> Self {
        let (writer, readers) = (ConnectionPool::new(vec![first]), ConnectionPool::new(readers));
        let file = (locks.file)();
        Catalog { path: path.to_owned(), file, copied, writer, readers, locks: Arc::new(locks) }
    }

    /// Fails if any part of the catalog is damaged.
    pub fn verify(&self) -> Result<()> {
        self.read(|catalog| verify::check_pages(catalog.0).and_then(|()| verify::check_tables(catalog.0)))
    }

    /// Runs `read` on a snapshot.
    pub fn read<T>(&self, read: impl FnOnce(&CatalogReader<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        self.readers.with(deadline, |connection| {
            let _instance_lock = (self.locks.instances)(deadline)?;
            verify::limit_steps(connection)?;
            let snapshot = connection.transaction()?;
            read(&CatalogReader(&snapshot))
        })
    }

    /// Runs a checkpoint, so that the log is written from its beginning and does not grow.
    pub fn checkpoint_wal(&self) -> Result<()> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        self.writer.with(deadline, |connection| {
            let _write_lock = (self.locks.writers)(deadline)?;
            let _instance_lock = (self.locks.instances)(deadline)?;
            connection.busy_timeout(Duration::ZERO)?;
            Ok(connection.query_row("PRAGMA wal_checkpoint(RESTART)", (), |_| Ok(()))?)
        })
    }

    /// Fails if a write cannot begin within the time that a reader waits.
    pub fn check_writable_soon(&self) -> Result<()> {
        let deadline = Instant::now() + READER_TIMEOUT;
        self.writer.with(deadline, |connection| {
            let _write_lock = (self.locks.writers)(deadline)?;
            let _instance_lock = (self.locks.instances)(deadline)?;
            connection.busy_timeout(READER_TIMEOUT)?;
            Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()?)
        })
    }

    /// Runs `write` as one transaction. Commits it if `write` succeeds, and rolls it back if `write` fails.
    pub fn write<T>(&self, write: impl FnOnce(&CatalogWriter<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + LOCK_TIMEOUT;
        self.writer.with(deadline, |connection| {
            let _write_lock = (self.locks.writers)(deadline)?;
            // While another program writes, the other instances in this process can read.
            connection.busy_timeout(Duration::ZERO)?;
            verify::limit_steps(connection)?;
            let (_instance_lock, transaction) = loop {
                let instance_lock = (self.locks.instances)(deadline)?;
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
        retained::close(&self.path, self.file, &self.locks, connections);
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

fn adopt_all(connection: &Connection, found: impl FnOnce() -> Result<Vec<FoundVolume>>) -> Result<()> {
    found()?.iter().try_for_each(|volume| volumes::adopt(connection, volume).map(drop))
}

/// Connects to a catalog and prepares it. Creates the file if it is missing.
fn connect(
    path: &Path,
    locks: &Arc<CatalogLocks>,
    prepare: impl FnOnce(&mut Connection) -> Result<()>,
) -> Result<Connection> {
    let connected =
        retained::open(path, OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW, locks, |connection| {
            set_up(connection)?;
            prepare(connection).map(|()| true)
        })?;
    connected.ok_or_else(|| Error::internal("a catalog was neither ready nor refused"))
}

/// Connects to an existing catalog that needs no preparation. Returns `None` if it needs one.
fn connect_to_complete(path: &Path, locks: &Arc<CatalogLocks>) -> Result<Option<Connection>> {
    let flags = (OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE) | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connected = retained::open(path, flags, locks, |connection| {
        connection.busy_timeout(LOCK_TIMEOUT)?;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        let is_complete = mode == WAL && schema::is_newest(connection)?;
        if is_complete {
            set_up(connection)?;
        }
        Ok(is_complete)
    });
    match connected {
        Err(error) if cannot_open(&error) => Ok(None),
        connected => connected,
    }
}

fn set_up(connection: &mut Connection) -> Result<()> {
    connection.busy_timeout(LOCK_TIMEOUT)?;
    verify::limit_steps(connection)?;
    // Closing must write nothing: neither to a rejected catalog, nor outside of the instance lock.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    // No version of the catalog has a view.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    schema::refuse_newer(connection)?;
    enter_wal(connection)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(())
}

/// Turns write-ahead logging on, which the file stores.
///
/// SQLite does not wait if another program does the same at once, so the statement is retried.
fn enter_wal(connection: &Connection) -> Result<()> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", WAL) {
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
            result => return Ok(result?),
        }
    }
}

/// Returns true if the error says that the catalog's file is damaged or no catalog.
pub fn is_damage(error: &Error) -> bool {
    cause_of(error).is_some_and(is_corrupt)
}

/// Returns true if the error may mean that the disk is full. SQLite reports an exceeded quota like any other failed
/// write.
pub fn may_lack_room(error: &Error) -> bool {
    use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE};
    let code = cause_of(error).and_then(rusqlite::Error::sqlite_error).map(|error| error.extended_code);
    matches!(code, Some(SQLITE_FULL | SQLITE_IOERR_WRITE | SQLITE_IOERR_SHMSIZE))
}

fn cannot_open(error: &Error) -> bool {
    cause_of(error).is_some_and(|cause| cause.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen))
}

fn cause_of(error: &Error) -> Option<&rusqlite::Error> {
    std::error::Error::source(error).and_then(|cause| cause.downcast_ref())
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, OperationInterrupted, Unknown};
    // `Unknown` is SQLite's general error: a table or column is missing or exists already. `OperationInterrupted` is
    // a statement without an end.
    let broken = [NotADatabase, DatabaseCorrupt, Unknown, OperationInterrupted];
    matches!(error, rusqlite::Error::SqlInputError { .. })
        || error.sqlite_error_code().is_some_and(|code| broken.contains(&code))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

/// Maps every error of SQLite to an error of the catalog.
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let problem = match error.sqlite_error_code() {
            _ if is_busy(&error) => format!(
                "is locked by another program, which did not release it within {} s. Try again later.",
                LOCK_TIMEOUT.as_secs()
            ),
            _ if is_corrupt(&error) => {
                "is damaged. It was left as it is; VolumeStore.check({ repair: true }) renames it and finds the \
                 volumes again."
                    .to_owned()
            }
            Some(ErrorCode::DiskFull) => "could not be written: no space is left on its disk.".to_owned(),
            _ => format!("failed: {error}"),
        };
        Error::catalog(problem).caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn a_quota_that_is_used_up_may_be_behind_what_failed_as_a_full_disk_is() {
        let failed = |code| Error::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(may_lack_room(&failed(ffi::SQLITE_FULL)) && may_lack_room(&failed(ffi::SQLITE_IOERR_WRITE)));
        assert!(
            !may_lack_room(&failed(ffi::SQLITE_BUSY)) && !may_lack_room(&failed(ffi::SQLITE_IOERR_FSYNC))
        );
        assert!(!may_lack_room(&Error::volume_not_found("v")));
    }
}
