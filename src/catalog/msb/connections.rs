//! Connections to microsandbox's catalog. They stay open until the process ends.

use super::{MsbCatalog, failed, unreadable};
use crate::error::Result;
use crate::sync::IgnorePoison;
use crate::sys::FileId;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

impl MsbCatalog {
    /// Runs `read` on a snapshot with a known schema. The second argument of `read` is true if volumes have a
    /// creation state.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Transaction<'_>, bool) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let shared = self.connection()?;
        let mut shared = locked(&shared);
        let SharedConnection { connection, checked } = &mut *shared;
        let failed = |error| failed(&self.path, error);
        let snapshot = connection.transaction().map_err(failed)?;
        let version =
            snapshot.pragma_query_value(None, "schema_version", |row| row.get(0)).map_err(failed)?;
        let has_creation = match *checked {
            Some((known, has_creation)) if known == version => has_creation,
            _ => self.check_schema(&snapshot)?,
        };
        *checked = Some((version, has_creation));
        read(&snapshot, has_creation).map_err(failed)
    }

    /// Returns the file that is at the path now; `None` if there is no file.
    fn file(&self) -> Option<FileId> {
        FileId::at_entry(&self.path).ok().flatten()
    }

    fn connection(&self) -> Result<Arc<Mutex<SharedConnection>>> {
        let replaced = || unreadable(&self.path, "was replaced while it was being opened. Try again.");
        let file = self.file().ok_or_else(replaced)?;
        let key = (file, self.wait.is_zero());
        if let Some(known) = locked(connections()).get(&key) {
            return Ok(known.clone());
        }
        let connection = connect(&self.path, self.wait).map_err(|error| failed(&self.path, error))?;
        if self.file() != Some(file) {
            return Err(replaced());
        }
        Ok(locked(connections())
            .entry(key)
            .or_insert_with(|| Arc::new(Mutex::new(SharedConnection { connection, checked: None })))
            .clone())
    }
}

/// Connections by file, and by whether a connection waits for other programs.
type MsbConnections = HashMap<(FileId, bool), Arc<Mutex<SharedConnection>>>;

struct SharedConnection {
    connection: Connection,
    /// Schema version that was checked last, and whether volumes have a creation state. SQLite increments the version
    /// with each change of the schema.
    checked: Option<(i64, bool)>,
}

fn connections() -> &'static Mutex<MsbConnections> {
    static CONNECTIONS: LazyLock<Mutex<MsbConnections>> = LazyLock::new(Mutex::default);
    &CONNECTIONS
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().ignore_poison()
}

fn connect(path: &Path, wait: Duration) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // A reader of a catalog in WAL mode writes to the log's index. If that is not permitted, SQLite reads without it.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_WRITE)
        .or_else(|_| Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    connection.busy_timeout(wait)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}
