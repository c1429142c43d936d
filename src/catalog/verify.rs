//! Whether a catalog is what this program would have written, and a bound on what a damaged one can cost.

use super::{CatalogLocks, schema};
use crate::error::{Error, Result};
use crate::sync::LONGEST_WAIT;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, ffi};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// How many steps of SQLite's machine pass between two looks at their number.
const STEPS_BETWEEN: i32 = 1_000_000;

/// How often it is looked until a transaction is ended. Listing 50,000 volumes takes a few million steps.
const MAX_LOOKS: u32 = 200;

/// Ends a transaction of this connection that takes too many steps, as a view or a trigger without an end would.
pub fn bound(connection: &mut Connection) -> Result<()> {
    let mut looks = 0;
    connection.progress_handler(
        STEPS_BETWEEN,
        Some(move || {
            looks += 1;
            looks > MAX_LOOKS
        }),
    )?;
    Ok(())
}

/// An error that says that the catalog is damaged, and how.
pub fn damaged(how: &str) -> Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CORRUPT), Some(how.to_owned())).into()
}

/// Refuses a catalog whose pages do not fit together.
pub fn content(connection: &Connection) -> Result<()> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(damaged(&verdict)),
    }
}

/// Refuses a catalog that lacks a table or a column of the newest version, and one of just that version that has more
/// than its tables and triggers.
pub fn tables(connection: &Connection) -> Result<()> {
    let (expected, found) = (newest()?, contents(connection)?);
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

/// Gives a catalog that has just the tables of the newest version that version back; false if it has others, is a newer
/// program's, or its pages do not fit together, and then it stays as it is.
pub fn restore_version(path: &Path, gates: CatalogLocks) -> Result<bool> {
    let deadline = Instant::now() + LONGEST_WAIT;
    let _alone = (gates.writers)(deadline)?;
    let _copies = (gates.copies)(deadline)?;
    if (gates.has_copies)() {
        // To close a connection would release the locks that other copies of SQLite have.
        return Ok(false);
    }
    let flags = (OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE) | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(LONGEST_WAIT)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    let restored = bound(&mut connection).and_then(|()| {
        content(&connection)?;
        let fits = contents(&connection)? == newest()?
            && !schema::is_of_this_version(&connection)?
            && !schema::is_newer(&connection)?;
        if fits {
            schema::restore_version(&mut connection)?;
        }
        Ok(fits)
    });
    match restored {
        Err(error) if super::is_damage(&error) => Ok(false),
        restored => restored,
    }
}

/// What the newest version has.
fn newest() -> Result<BTreeSet<String>> {
    let mut connection = Connection::open_in_memory()?;
    schema::prepare(&mut connection, |_| Ok(()))?;
    contents(&connection)
}

/// The columns of all tables, and all triggers and views, each as text.
fn contents(connection: &Connection) -> Result<BTreeSet<String>> {
    let mut statement = connection.prepare(
        "SELECT 'column ' || s.name || '.' || c.name || ' ' || c.type || ' ' || c.hidden
         FROM sqlite_schema AS s, pragma_table_xinfo(s.name) AS c
         WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite%' AND s.sql NOT LIKE 'CREATE VIRTUAL%'
         UNION ALL SELECT type || ' ' || name FROM sqlite_schema WHERE type IN ('trigger', 'view')",
    )?;
    let rows = statement.query_map((), |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// Whether something runs by itself when the catalog is used.
fn is_active(content: &str) -> bool {
    content.starts_with("trigger ") || content.starts_with("view ")
}
