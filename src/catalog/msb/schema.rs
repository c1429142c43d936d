//! The schemas of microsandbox's catalog that are known here.

use super::{MsbCatalog, failed, unknown};
use crate::error::Result;
use rusqlite::Connection;

/// Columns of `volume` that this module reads and that every supported version has.
const COLUMNS: [&str; 11] = [
    "id",
    "name",
    "quota_mib",
    "size_bytes",
    "labels",
    "created_at",
    "updated_at",
    "kind",
    "capacity_bytes",
    "disk_format",
    "disk_fstype",
];

/// Columns of `volume` that newer versions add, and the triggers that belong to them.
const CREATION_COLUMNS: [&str; 2] = ["creation_state", "pending_creation_sandbox_id"];
const CREATION_TRIGGERS: [&str; 2] = ["volume_creation_no_delete", "standalone_volume_no_delete"];

impl MsbCatalog {
    /// Fails if the table of volumes is unknown. Returns true if volumes have a creation state.
    pub(super) fn check_schema(&self, catalog: &Connection) -> Result<bool> {
        let failed = |error| failed(&self.path, error);
        let unknown = |problem: &str| {
            let newest = "SELECT max(version) FROM seaql_migrations";
            // A catalog without that table has no migrations.
            let newest = catalog.query_row(newest, (), |row| row.get::<_, Option<String>>(0)).ok().flatten();
            Err(unknown(&self.path, problem, newest))
        };
        let columns = columns_of(catalog, "volume").map_err(failed)?;
        let has = |name: &&str| columns.iter().any(|column| column.name == *name);
        let is_known = |name: &str| COLUMNS.contains(&name) || CREATION_COLUMNS.contains(&name);
        if !COLUMNS.iter().all(has) {
            return unknown("lacks columns of the table \"volume\"");
        }
        if columns.iter().any(|column| column.is_required && !is_known(&column.name)) {
            return unknown("has a new column in the table \"volume\"");
        }
        let has_creation = CREATION_COLUMNS.iter().all(has);
        if !has_creation && CREATION_COLUMNS.iter().any(has) {
            return unknown("lacks columns of the table \"volume\"");
        }
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'volume'";
        let mut statement = catalog.prepare_cached(sql).map_err(failed)?;
        let triggers = statement.query_map((), |row| row.get::<_, String>(0)).map_err(failed)?;
        for trigger in triggers {
            let trigger = trigger.map_err(failed)?;
            if !has_creation || !CREATION_TRIGGERS.contains(&trigger.as_str()) {
                return unknown("has a new trigger on the table \"volume\"");
            }
        }
        Ok(has_creation)
    }
}

/// A column of a table.
pub(super) struct Column {
    pub name: String,
    /// True if a new row must set the column.
    is_required: bool,
}

/// Returns the columns of a table. The list is empty if the table does not exist.
pub(super) fn columns_of(catalog: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let sql = "SELECT name, \"notnull\" AND dflt_value IS NULL FROM pragma_table_info(?1)
               WHERE EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    let mut statement = catalog.prepare_cached(sql)?;
    let columns = |row: &rusqlite::Row<'_>| Ok(Column { name: row.get(0)?, is_required: row.get(1)? });
    statement.query_map([table], columns)?.collect()
}
