//! Reading a catalog on a read-only file system.
//!
//! SQLite keeps locks and an index of the log beside the catalog. If another mount of the same file system is
//! written, both exist and are used.
//!
//! Otherwise no process can change the catalog. Then a log is read without its index and without locks. A catalog
//! without a log is read like an immutable file.

use super::{Catalog, schema, verify};
use crate::error::{Error, Result};
use crate::sync::LOCK_TIMEOUT;
use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// Number of pages that one step of a backup copies.
const PAGES_PER_STEP: i32 = 1024;

impl Catalog {
    /// Returns false if reads use a copy in memory and another process changed the file since.
    pub fn is_current(&self) -> Result<bool> {
        let Some(copied) = self.copied else { return Ok(true) };
        self.writer.with(Instant::now() + LOCK_TIMEOUT, |connection| Ok(data_version(connection)? == copied))
    }
}

/// Returns a number that changes with each commit of another connection.
pub fn data_version(connection: &Connection) -> Result<i64> {
    Ok(connection.pragma_query_value(None, "data_version", |row| row.get(0))?)
}

/// Connects to the catalog at `path`. `has_log` says that a log exists beside it.
pub fn connect(path: &Path, has_log: bool) -> Result<Connection> {
    match open(path, "mode=ro", false) {
        Err(error) if cannot_have_index(&error) => match has_log {
            true => open(path, "mode=ro&vfs=unix-none", true),
            false => open(path, "mode=ro&immutable=1", false),
        },
        opened => opened,
    }
}

/// Copies a catalog, or an empty one, into memory and migrates the copy. `fill` is called for a new catalog. The copy
/// is read-only.
pub fn copy(
    catalog: Option<&Connection>,
    fill: impl FnOnce(&Transaction<'_>) -> Result<()>,
) -> Result<Connection> {
    let mut copy = Connection::open_in_memory()?;
    if let Some(catalog) = catalog {
        Backup::new(catalog, &mut copy)?.run_to_completion(PAGES_PER_STEP, Duration::ZERO, None)?;
    }
    verify::limit_steps(&mut copy)?;
    copy.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    copy.pragma_update(None, "trusted_schema", false)?;
    schema::prepare(&mut copy, fill)?;
    // Each opening must give a volume the same id until the id can be written.
    copy.execute(
        "UPDATE volume SET identity = printf('%016x%016x', coalesce(created_at_ms, 0), id)
         WHERE NOT identity_stored",
        (),
    )?;
    copy.pragma_update(None, "query_only", true)?;
    Ok(copy)
}

fn open(path: &Path, parameters: &str, alone: bool) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(address(path, parameters), flags)?;
    verify::limit_steps(&mut connection)?;
    if alone {
        // The mode must be set before the first read of the log. Then SQLite keeps the index in memory.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
    Ok(connection)
}

/// Returns the path as a `file:` URI of SQLite.
fn address(path: &Path, parameters: &str) -> String {
    let mut address = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => address.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => address.push(char::from(*byte)),
            byte => drop(write!(address, "%{byte:02x}")),
        }
    }
    address + "?" + parameters
}

/// Returns true if the read failed because the log or its index cannot be opened.
fn cannot_have_index(error: &Error) -> bool {
    let code = super::failure::cause_of(error).and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}
