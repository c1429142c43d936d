//! A catalog on a read-only file system, which is read as it is.
//!
//! SQLite keeps an index of its log beside the catalog, and locks. Where another mount of the same file system is
//! written, both are there and are used. Else nobody can change the catalog: its log is read without the index and locks,
//! and a catalog without a log like any other file.

use super::{schema, verify};
use crate::error::{Error, Result};
use rusqlite::backup::Backup;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction};
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// How many pages are copied in one step.
const PAGES_AT_ONCE: i32 = 1024;

/// Connects to the catalog at `path`, beside which there is a log if `has_log`.
pub fn connect(path: &Path, has_log: bool) -> Result<Connection> {
    match open(path, "mode=ro", false) {
        Err(error) if cannot_have_index(&error) => match has_log {
            true => open(path, "mode=ro&vfs=unix-none", true),
            false => open(path, "mode=ro&immutable=1", false),
        },
        opened => opened,
    }
}

/// Copies a catalog, or an empty one, into memory and brings it up to date there; `fill` is called for a new one. The
/// copy does not change.
pub fn copy(
    catalog: Option<&Connection>,
    fill: impl FnOnce(&Transaction<'_>) -> Result<()>,
) -> Result<Connection> {
    let mut copy = Connection::open_in_memory()?;
    if let Some(catalog) = catalog {
        Backup::new(catalog, &mut copy)?.run_to_completion(PAGES_AT_ONCE, Duration::ZERO, None)?;
    }
    verify::bound(&mut copy)?;
    copy.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    copy.pragma_update(None, "trusted_schema", false)?;
    schema::prepare(&mut copy, fill)?;
    // A volume has the same id each time, until its own can be written.
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
    verify::bound(&mut connection)?;
    if alone {
        // Before the first look at the log, so that its index is made in memory.
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()))?;
    Ok(connection)
}

/// The path as SQLite's URI.
fn address(path: &Path, parameters: &str) -> String {
    let mut address = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' => address.push(char::from(*byte)),
            byte if byte.is_ascii_alphanumeric() => address.push(char::from(*byte)),
            byte => drop(write!(address, "%{byte:02x}")),
        }
    }
    address + "?" + parameters
}

/// Whether it was for want of the log, or of its index, that nothing could be read.
fn cannot_have_index(error: &Error) -> bool {
    let code = super::cause_of(error).and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}
