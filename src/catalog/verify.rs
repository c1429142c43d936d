//! Checks that a catalog is intact, and a bound on the work that a damaged one can cause.

use super::{CatalogLocks, schema};
use crate::error::{Error, Result};
use crate::sync::LOCK_TIMEOUT;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};
use std::collections::BTreeSet;
use std::time::Instant;

/// Steps of SQLite's virtual machine between two calls of the progress handler.
const STEPS_PER_CALL: i32 = 1_000_000;

/// Calls of the progress handler before it ends a transaction. Listing 50,000 volumes takes a few million steps.
const MAX_PROGRESS_CALLS: u32 = 200;

/// Interrupts a transaction that takes too many steps, as an endless view or trigger would.
pub fn limit_steps(connection: &mut Connection) -> Result<()> {
    let mut calls = 0;
    connection.progress_handler(
        STEPS_PER_CALL,
        Some(move || {
            calls += 1;
            calls > MAX_PROGRESS_CALLS
        }),
    )?;
    Ok(())
}

/// Returns an error that says that the catalog is damaged, and how.
pub fn damaged(how: &str) -> Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(how.to_owned())).into()
}

/// Fails if the pages of the catalog are inconsistent.
pub fn check_pages(connection: &Connection) -> Result<()> {
    let problem: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    match problem.as_str() {
        "ok" => Ok(()),
        _ => Err(damaged(&problem)),
    }
}

/// Fails if the catalog lacks a table or a column of the newest version. Fails also if a catalog of exactly that
/// version has additional triggers or views.
pub fn check_tables(connection: &Connection) -> Result<()> {
    let (expected, found) = (newest_objects()?, schema_objects(connection)?);
    match expected.iter().find(|expected| !found.contains(*expected)) {
        Some(missing) => return Err(damaged(&format!("it has no {missing}"))),
        None if schema::has_wrong_min_reader(connection)? => {
            return Err(damaged("its version is not its tables'"));
        }
        None if !schema::is_of_this_version(connection)? => return Ok(()),
        None => {}
    }
    let more = found.iter().find(|found| is_active(found) && !expected.contains(*found));
    more.map_or(Ok(()), |more| Err(damaged(&format!("it has a {more}"))))
}

/// Restores the version of a catalog whose tables are those of the newest version.
///
/// Returns false, and changes nothing, if the tables differ, a newer program wrote the catalog, or its pages are
/// inconsistent.
pub fn restore_version(locks: &CatalogLocks) -> Result<bool> {
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let _write_lock = locks.exclude_writers(deadline)?;
    let _instance_lock = locks.exclude_instances(deadline)?;
    if locks.has_other_instances() {
        // Closing a connection would release the locks of the other instances.
        return Ok(false);
    }
    let flags = (OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE) | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(locks.path(), flags)?;
    connection.busy_timeout(LOCK_TIMEOUT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    let restored = limit_steps(&mut connection).and_then(|()| {
        check_pages(&connection)?;
        let fits = schema_objects(&connection)? == newest_objects()?
            && !schema::is_of_this_version(&connection)?
            && !schema::is_newer(&connection)?;
        if fits {
            schema::restore_version(&mut connection)?;
        }
        Ok(fits)
    });
    match restored {
        Err(error) if super::failure::is_damage(&error) => Ok(false),
        restored => restored,
    }
}

/// Returns the columns, triggers and views of the newest version.
fn newest_objects() -> Result<BTreeSet<String>> {
    let mut connection = Connection::open_in_memory()?;
    schema::prepare(&mut connection, |_| Ok(()))?;
    schema_objects(&connection)
}

/// Returns the columns of all tables, the triggers and the views, each as text.
fn schema_objects(connection: &Connection) -> Result<BTreeSet<String>> {
    let mut statement = connection.prepare(
        "SELECT 'column ' || s.name || '.' || c.name || ' ' || c.type || ' ' || c.hidden
         FROM sqlite_schema AS s, pragma_table_xinfo(s.name) AS c
         WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite%' AND s.sql NOT LIKE 'CREATE VIRTUAL%'
         UNION ALL SELECT type || ' ' || name FROM sqlite_schema WHERE type IN ('trigger', 'view')",
    )?;
    let rows = statement.query_map((), |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Returns true if SQLite runs this object by itself when the catalog is used.
fn is_active(content: &str) -> bool {
    content.starts_with("trigger ") || content.starts_with("view ")
}
