//! Opens the catalog: on a writable file system, on a read-only one, and in memory.

use super::failure::{cannot_open, is_busy};
use super::pool::ConnectionPool;
use super::{BUSY_PAUSE, Catalog, CatalogLocks, FoundVolume, read_only, retained, schema, verify, volumes};
use crate::error::{Error, Result};
use crate::sync::LOCK_TIMEOUT;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time for which an opening waits for a writer before it checks if it has to write at all.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// Number of reads that run at once.
const MAX_READERS: usize = 2;

/// Journal mode in which readers and a writer do not wait for each other.
const WAL: &str = "wal";

impl Catalog {
    /// Opens the catalog. Creates it, or migrates it to the newest version.
    ///
    /// A new catalog begins with the volumes that `found` returns: those of a catalog that was lost.
    pub fn open(locks: CatalogLocks, found: impl FnOnce() -> Result<Vec<FoundVolume>>) -> Result<Self> {
        let locks = Arc::new(locks);
        let deadline = Instant::now() + LOCK_TIMEOUT;
        let writing = locks.exclude_writers(Instant::now() + OPEN_TIMEOUT);
        let mut instance_lock = locks.exclude_instances(deadline)?;
        let prepare = |connection: &mut Connection| {
            schema::prepare(connection, |transaction| adopt_all(transaction, found))
        };
        let (first, write_lock) = match writing {
            Ok(write_lock) => (connect(&locks, prepare)?, Some(write_lock)),
            // A stopped writer must not keep readers out.
            Err(_) => match connect_to_complete(&locks)? {
                Some(complete) => (complete, None),
                None => {
                    drop(instance_lock);
                    let write_lock = locks.exclude_writers(deadline)?;
                    instance_lock = locks.exclude_instances(deadline)?;
                    (connect(&locks, prepare)?, Some(write_lock))
                }
            },
        };
        let (writer, no_readers) = (ConnectionPool::new(vec![first]), ConnectionPool::new(Vec::new()));
        let file = locks.file();
        let mut catalog = Catalog { file, copied: None, writer, readers: no_readers, locks };
        let readers = (0..MAX_READERS).map(|_| connect(&catalog.locks, |_| Ok(())));
        catalog.readers = ConnectionPool::new(readers.collect::<Result<_>>()?);
        drop((instance_lock, write_lock));
        Ok(catalog)
    }

    /// Opens the catalog on a read-only file system, where no lock can be acquired.
    ///
    /// A catalog of an earlier version is copied into memory and migrated there. `has_log` says that a write-ahead
    /// log exists. See [`Catalog::open`] for `found`.
    pub fn open_read_only(
        locks: CatalogLocks,
        has_log: bool,
        found: impl FnOnce() -> Result<Vec<FoundVolume>>,
    ) -> Result<Self> {
        let first = read_only::connect(locks.path(), has_log)?;
        schema::refuse_newer(&first)?;
        if !schema::is_newest(&first)? {
            // Before the copy, so that each later commit changes the number.
            let copied = read_only::data_version(&first)?;
            let copy = read_only::copy(Some(&first), |copy| adopt_all(copy, found))?;
            return Ok(Catalog::of_readers(first, Some(copied), vec![copy], locks));
        }
        let readers =
            (0..MAX_READERS).map(|_| read_only::connect(locks.path(), has_log)).collect::<Result<_>>()?;
        Ok(Catalog::of_readers(first, None, readers, locks))
    }

    /// Creates a catalog in memory with the volumes that `found` returns. It replaces the catalog that a
    /// read-only file system lacks.
    pub fn open_in_memory(
        locks: CatalogLocks,
        found: impl FnOnce() -> Result<Vec<FoundVolume>>,
    ) -> Result<Self> {
        let copy = read_only::copy(None, |copy| adopt_all(copy, found))?;
        // No statement writes through this connection.
        let first = Connection::open_in_memory()?;
        Ok(Catalog::of_readers(first, None, vec![copy], locks))
    }

    /// Builds a catalog for reading. A writer gets a connection from the pool and then fails.
    fn of_readers(
        first: Connection,
        copied: Option<i64>,
        readers: Vec<Connection>,
        locks: CatalogLocks,
    ) -> Self {
        let (writer, readers) = (ConnectionPool::new(vec![first]), ConnectionPool::new(readers));
        let file = locks.file();
        Catalog { file, copied, writer, readers, locks: Arc::new(locks) }
    }
}

fn adopt_all(connection: &Connection, found: impl FnOnce() -> Result<Vec<FoundVolume>>) -> Result<()> {
    found()?.iter().try_for_each(|volume| volumes::adopt(connection, volume).map(drop))
}

/// Connects to a catalog and prepares it. Creates the file if it is missing.
fn connect(
    locks: &Arc<CatalogLocks>,
    prepare: impl FnOnce(&mut Connection) -> Result<()>,
) -> Result<Connection> {
    let connected =
        retained::open(locks, OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW, |connection| {
            set_up(connection)?;
            prepare(connection).map(|()| true)
        })?;
    connected.ok_or_else(|| Error::internal("a catalog was neither ready nor refused"))
}

/// Connects to an existing catalog that needs no preparation. Returns `None` if it needs one.
fn connect_to_complete(locks: &Arc<CatalogLocks>) -> Result<Option<Connection>> {
    let flags = (OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE) | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connected = retained::open(locks, flags, |connection| {
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
