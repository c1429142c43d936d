//! The catalog: all SQL of the store, and nothing but SQL.
//!
//! A volume's row carries an *intent* while it is being created or removed. Only rows without one are volumes
//! to the outside, so a half-made or half-removed volume is never listed.

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
use crate::sync::LONGEST_WAIT;
use pool::ConnectionPool;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an opening waits for a writer before it looks whether it needs to write at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long a reader waits for writers before it leaves to a later one what it would have to write.
const READER_PATIENCE: Duration = Duration::from_millis(200);

/// How many reads run at once.
const READERS: usize = 2;

/// The name of write-ahead logging, by which readers and a writer do not wait for each other.
const WAL: &str = "wal";

/// How long to wait where SQLite does not.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// Keeps others away until what it gives is dropped; it waits until the deadline.
pub type CatalogLock = Box<dyn Fn(Instant) -> Result<Box<dyn Any>> + Send + Sync>;

/// What SQLite's own locks leave open: they exclude other processes, but not a second copy of SQLite in this one, which
/// a second copy of the addon brings along.
pub struct CatalogLocks {
    /// Lets one writer in at a time, whoever it is.
    pub writers: CatalogLock,
    /// Lets one copy of SQLite in this process in at a time. It is only ever held for a moment.
    pub copies: CatalogLock,
    /// Whether there are other copies, or that could not be told.
    pub has_copies: Box<dyn Fn() -> bool + Send + Sync>,
    /// The file that stands at the catalog's path now.
    pub file: Box<dyn Fn() -> Option<FileNumbers> + Send + Sync>,
}

/// An open catalog. Every commit is on disk when it returns. Reads never wait for writers, unless there are other copies
/// of SQLite in this process: then whoever writes or reads has all others of this process wait, for a moment.
pub struct Catalog {
    path: PathBuf,
    file: Option<FileNumbers>,
    writer: ConnectionPool,
    readers: ConnectionPool,
    gates: Arc<CatalogLocks>,
}

/// Reading access, of one moment.
pub struct CatalogReader<'c>(&'c Connection);

/// Writing access, within one transaction.
pub struct CatalogWriter<'c>(rusqlite::Transaction<'c>);

impl Catalog {
    /// Opens the catalog at `path`, makes it or brings it up to date. A new one begins with the volumes that `found`
    /// gives: those of a catalog that was lost.
    pub fn open(
        path: &Path,
        gates: CatalogLocks,
        found: impl FnOnce() -> Result<Vec<FoundVolume>>,
    ) -> Result<Self> {
        let gates = Arc::new(gates);
        let deadline = Instant::now() + LONGEST_WAIT;
        let writing = (gates.writers)(Instant::now() + PATIENCE);
        let mut copies = (gates.copies)(deadline)?;
        let prepare = |connection: &mut Connection| {
            schema::prepare(connection, |transaction| adopt_all(transaction, found))
        };
        let (first, alone) = match writing {
            Ok(alone) => (connect(path, &gates, prepare)?, Some(alone)),
            // A writer that was stopped keeps nobody from reading.
            Err(_) => match connect_to_complete(path, &gates)? {
                Some(complete) => (complete, None),
                None => {
                    drop(copies);
                    let alone = (gates.writers)(deadline)?;
                    copies = (gates.copies)(deadline)?;
                    (connect(path, &gates, prepare)?, Some(alone))
                }
            },
        };
        let (writer, none_yet) = (ConnectionPool::new(vec![first]), ConnectionPool::new(Vec::new()));
        let file = (gates.file)();
        let mut catalog = Catalog { path: path.to_owned(), file, writer, readers: none_yet, gates };
        let readers = (0..READERS).map(|_| connect(path, &catalog.gates, |_| Ok(())));
        catalog.readers = ConnectionPool::new(readers.collect::<Result<_>>()?);
        drop((copies, alone));
        Ok(catalog)
    }

    /// Opens the catalog at `path` on a read-only file system, where `gates.writers` refuses. One of an earlier version
    /// is copied into memory and brought up to date there. `has_log` tells whether a log is beside it; see
    /// [`Catalog::open`] for `found`.
    pub fn open_read_only(
        path: &Path,
        has_log: bool,
        gates: CatalogLocks,
        found: impl FnOnce() -> Result<Vec<FoundVolume>>,
    ) -> Result<Self> {
        let first = read_only::connect(path, has_log)?;
        schema::refuse_newer(&first)?;
        if !schema::is_newest(&first)? {
            let copy = read_only::copy(Some(&first), |copy| adopt_all(copy, found))?;
            return Ok(Catalog::of_readers(path, first, vec![copy], gates));
        }
        let readers = (0..READERS).map(|_| read_only::connect(path, has_log)).collect::<Result<_>>()?;
        Ok(Catalog::of_readers(path, first, readers, gates))
    }

    /// Makes a catalog in memory with the volumes that `found` returns, in place of one at `path` that a read-only file
    /// system lacks.
    pub fn open_in_memory(
        path: &Path,
        gates: CatalogLocks,
        found: impl FnOnce() -> Result<Vec<FoundVolume>>,
    ) -> Result<Self> {
        let copy = read_only::copy(None, |copy| adopt_all(copy, found))?;
        // Nothing is ever written through it.
        let first = Connection::open_in_memory()?;
        Ok(Catalog::of_readers(path, first, vec![copy], gates))
    }

    /// A catalog that is only read. A writer, too, is first lent a connection and then refused.
    fn of_readers(path: &Path, first: Connection, readers: Vec<Connection>, gates: CatalogLocks) -> Self {
        let (writer, readers) = (ConnectionPool::new(vec![first]), ConnectionPool::new(readers));
        let file = (gates.file)();
        Catalog { path: path.to_owned(), file, writer, readers, gates: Arc::new(gates) }
    }

    /// Reads the whole catalog and refuses one that is damaged.
    pub fn verify(&self) -> Result<()> {
        self.read(|catalog| verify::content(catalog.0).and_then(|()| verify::tables(catalog.0)))
    }

    /// Runs `read` on a snapshot.
    pub fn read<T>(&self, read: impl FnOnce(&CatalogReader<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + LONGEST_WAIT;
        self.readers.with(deadline, |connection| {
            let _copies = (self.gates.copies)(deadline)?;
            verify::bound(connection)?;
            let snapshot = connection.transaction()?;
            read(&CatalogReader(&snapshot))
        })
    }

    /// Brings what the log holds into the catalog itself, so that the log is written from its beginning again and takes
    /// no more room.
    pub fn checkpoint_wal(&self) -> Result<()> {
        let deadline = Instant::now() + LONGEST_WAIT;
        self.writer.with(deadline, |connection| {
            let _alone = (self.gates.writers)(deadline)?;
            let _copies = (self.gates.copies)(deadline)?;
            connection.busy_timeout(Duration::ZERO)?;
            Ok(connection.query_row("PRAGMA wal_checkpoint(RESTART)", (), |_| Ok(()))?)
        })
    }

    /// Fails unless a write could begin now, or soon: a reader that has something to write does not wait for longer.
    pub fn check_writable_soon(&self) -> Result<()> {
        let deadline = Instant::now() + READER_PATIENCE;
        self.writer.with(deadline, |connection| {
            let _alone = (self.gates.writers)(deadline)?;
            let _copies = (self.gates.copies)(deadline)?;
            connection.busy_timeout(READER_PATIENCE)?;
            Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()?)
        })
    }

    /// Runs `write` as one transaction, which is committed if it succeeds and rolled back if it fails.
    pub fn write<T>(&self, write: impl FnOnce(&CatalogWriter<'_>) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + LONGEST_WAIT;
        self.writer.with(deadline, |connection| {
            let _alone = (self.gates.writers)(deadline)?;
            // While another program writes, the copies in this process go on reading.
            connection.busy_timeout(Duration::ZERO)?;
            verify::bound(connection)?;
            let (_copies, transaction) = loop {
                let copies = (self.gates.copies)(deadline)?;
                match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
                    Err(error) if is_busy(&error) && Instant::now() < deadline => {
                        drop(copies);
                        std::thread::sleep(BUSY_PAUSE);
                    }
                    begun => break (copies, begun?),
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
        retained::close(&self.path, self.file, &self.gates, connections);
    }
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").finish_non_exhaustive()
    }
}

impl CatalogWriter<'_> {
    /// Reading access within this transaction.
    pub fn reader(&self) -> CatalogReader<'_> {
        CatalogReader(&self.0)
    }
}

fn adopt_all(connection: &Connection, found: impl FnOnce() -> Result<Vec<FoundVolume>>) -> Result<()> {
    found()?.iter().try_for_each(|volume| volumes::adopt(connection, volume).map(drop))
}

/// Connects to a catalog, which is made where it is missing, and has it prepared.
fn connect(
    path: &Path,
    gates: &Arc<CatalogLocks>,
    prepare: impl FnOnce(&mut Connection) -> Result<()>,
) -> Result<Connection> {
    let connected =
        retained::open(path, OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW, gates, |connection| {
            set_up(connection)?;
            prepare(connection).map(|()| true)
        })?;
    connected.ok_or_else(|| Error::internal("a catalog was neither ready nor refused"))
}

/// Connects to a catalog that is there and needs no preparation; none where it does.
fn connect_to_complete(path: &Path, gates: &Arc<CatalogLocks>) -> Result<Option<Connection>> {
    let flags = (OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE) | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connected = retained::open(path, flags, gates, |connection| {
        connection.busy_timeout(LONGEST_WAIT)?;
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
    connection.busy_timeout(LONGEST_WAIT)?;
    verify::bound(connection)?;
    // Closing a connection writes nothing: not into a catalog that is refused, nor outside the gate.
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

/// Turns write-ahead logging on, which the file then remembers. Of two programs that do so at once SQLite
/// refuses one without waiting, so that one tries again.
fn enter_wal(connection: &Connection) -> Result<()> {
    let deadline = Instant::now() + LONGEST_WAIT;
    loop {
        match connection.pragma_update(None, "journal_mode", WAL) {
            Err(error) if is_busy(&error) && Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
            result => return Ok(result?),
        }
    }
}

/// Whether an error of the catalog says that its file is damaged or not ours.
pub fn is_damage(error: &Error) -> bool {
    cause_of(error).is_some_and(is_corrupt)
}

/// Whether an error of the catalog may say that there is no room for it: SQLite tells a quota that is used up from no
/// other failure to write.
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
    // SQLite's general error, of a table or a column that is missing or there already, and a statement without an end.
    let broken = [NotADatabase, DatabaseCorrupt, Unknown, OperationInterrupted];
    matches!(error, rusqlite::Error::SqlInputError { .. })
        || error.sqlite_error_code().is_some_and(|code| broken.contains(&code))
}

fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

/// Where SQLite reports failures, they are the catalog's.
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let problem = match error.sqlite_error_code() {
            _ if is_busy(&error) => format!(
                "is locked by another program, which did not release it within {} s. Try again later.",
                LONGEST_WAIT.as_secs()
            ),
            _ if is_corrupt(&error) => {
                "is damaged. It was left as it is; VolumeStore.check({ repair: true }) keeps it aside and finds the \
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
