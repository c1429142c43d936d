//! Read access to microsandbox's catalog, `db/msb.db`. Nothing is written to it.
//!
//! A connection stays open until the process ends. POSIX releases the locks of a process on a file when the process
//! closes any descriptor of the file. microsandbox's SDK may have its own SQLite, with locks, in this process.

use super::FileNumbers;
use crate::error::{Error, Result};
use crate::model::{VolumeKind, VolumeName};
use crate::sync::IgnorePoison;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction};
use serde_json::Value;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Duration;

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

/// The file of microsandbox's catalog.
pub struct MsbCatalog {
    /// Path of the catalog.
    pub path: PathBuf,
    /// Returns the file that is at the path now; `None` if there is no file.
    pub current: Box<dyn Fn() -> Option<FileNumbers>>,
    /// Time to wait for the lock of another program.
    pub wait: Duration,
}

/// A volume in microsandbox's catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MsbVolume {
    /// Id of the row. A volume that is removed and created again has another id.
    pub id: i64,
    /// Kind of the volume.
    pub kind: VolumeKind,
    /// Size of a disk volume.
    pub capacity_bytes: Option<u64>,
    /// True while microsandbox creates the volume.
    pub is_incomplete: bool,
    /// Sandbox that the volume is being created for.
    pub creating_sandbox: Option<String>,
}

/// A sandbox that runs or may run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveSandbox {
    /// Name of the sandbox.
    pub name: String,
    /// Mounts of the sandbox; `None` if its configuration cannot be read.
    pub sources: Option<Vec<MountedSource>>,
}

/// The source of a sandbox's mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountedSource {
    /// A volume, by name.
    Volume(String),
    /// A path on the host.
    Host(PathBuf),
}

impl MsbCatalog {
    /// Returns the volume with this name.
    pub fn volume(&self, name: &VolumeName) -> Result<Option<MsbVolume>> {
        self.read(|catalog, has_creation| {
            let creation = match has_creation {
                true => {
                    "creation_state IS NOT NULL OR pending_creation_sandbox_id IS NOT NULL,
                     (SELECT name FROM sandbox WHERE sandbox.id = pending_creation_sandbox_id)"
                }
                false => "FALSE, NULL",
            };
            let sql = format!("SELECT id, kind, capacity_bytes, {creation} FROM volume WHERE name = ?1");
            let mut statement = catalog.prepare_cached(&sql)?;
            let found = statement.query_row([name.as_str()], |row| {
                let kind: String = row.get(1)?;
                Ok(MsbVolume {
                    id: row.get(0)?,
                    kind: if kind == VolumeKind::Disk.as_str() { VolumeKind::Disk } else { VolumeKind::Dir },
                    capacity_bytes: row.get::<_, Option<i64>>(2)?.and_then(|bytes| bytes.try_into().ok()),
                    is_incomplete: row.get(3)?,
                    creating_sandbox: row.get(4)?,
                })
            });
            found.optional()
        })
    }

    /// Returns the sandboxes that run or may run.
    pub fn active_sandboxes(&self) -> Result<Vec<ActiveSandbox>> {
        let found = self.read(|catalog, _| {
            let columns = columns_of(catalog, "sandbox")?;
            if columns.is_empty() {
                return Ok(Some(Vec::new()));
            }
            let has = |name: &str| columns.iter().any(|column| column.name == name);
            if !["name", "config", "status"].into_iter().all(has) {
                return Ok(None);
            }
            let active = if has("active_config") { "active_config" } else { "NULL" };
            let sql = format!(
                "SELECT name, config, {active} FROM sandbox
                 WHERE status IN ('Starting', 'Running', 'Draining', 'Paused') ORDER BY name"
            );
            let mut statement = catalog.prepare(&sql)?;
            let rows = statement.query_map((), |row| {
                let configurations = [row.get_ref(1)?, row.get_ref(2)?];
                let sources = configurations.into_iter().map(|configuration| match configuration {
                    rusqlite::types::ValueRef::Null => Some(Vec::new()),
                    text => text.as_bytes().ok().and_then(mounted_sources),
                });
                let sources = sources.collect::<Option<Vec<_>>>();
                Ok(ActiveSandbox { name: row.get(0)?, sources: sources.map(|all| all.concat()) })
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>().map(Some)
        })?;
        found.ok_or_else(|| unknown(&self.path, "lacks columns of the table \"sandbox\"", None))
    }

    /// Runs `read` on a snapshot with a known schema. The second argument of `read` is true if volumes have a
    /// creation state.
    fn read<T>(&self, read: impl FnOnce(&Transaction<'_>, bool) -> rusqlite::Result<T>) -> Result<T> {
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

    /// Fails if the table of volumes is unknown. Returns true if volumes have a creation state.
    fn check_schema(&self, catalog: &Connection) -> Result<bool> {
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

    fn connection(&self) -> Result<Arc<Mutex<SharedConnection>>> {
        let replaced = || unreadable(&self.path, "was replaced while it was being opened. Try again.");
        let file = (self.current)().ok_or_else(replaced)?;
        let key = (file, self.wait.is_zero());
        if let Some(known) = locked(connections()).get(&key) {
            return Ok(known.clone());
        }
        let connection = connect(&self.path, self.wait).map_err(|error| failed(&self.path, error))?;
        if (self.current)() != Some(file) {
            return Err(replaced());
        }
        Ok(locked(connections())
            .entry(key)
            .or_insert_with(|| Arc::new(Mutex::new(SharedConnection { connection, checked: None })))
            .clone())
    }
}

/// Connections by file, and by whether a connection waits for other programs.
type MsbConnections = HashMap<(FileNumbers, bool), Arc<Mutex<SharedConnection>>>;

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
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

struct Column {
    name: String,
    /// True if a new row must set the column.
    is_required: bool,
}

/// Returns the columns of a table. The list is empty if the table does not exist.
fn columns_of(catalog: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let sql = "SELECT name, \"notnull\" AND dflt_value IS NULL FROM pragma_table_info(?1)
               WHERE EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    let mut statement = catalog.prepare_cached(sql)?;
    let columns = |row: &rusqlite::Row<'_>| Ok(Column { name: row.get(0)?, is_required: row.get(1)? });
    statement.query_map([table], columns)?.collect()
}

/// Returns the mounts of a sandbox's configuration. Returns `None` if the configuration is not understood.
fn mounted_sources(configuration: &[u8]) -> Option<Vec<MountedSource>> {
    let configuration: Value = serde_json::from_slice(configuration).ok()?;
    let configuration = configuration.as_object()?;
    let mounts = match configuration.get("mounts") {
        None | Some(Value::Null) => &Vec::new(),
        Some(mounts) => mounts.as_array()?,
    };
    let host = |path: &str| MountedSource::Host(PathBuf::from(path));
    let mut sources = Vec::new();
    for mount in mounts {
        let text = |field| mount.get(field).and_then(Value::as_str);
        match text("type")? {
            "Named" => sources.push(MountedSource::Volume(text("name")?.to_owned())),
            "Tmpfs" => {}
            _ => sources.push(host(text("host")?)),
        }
    }
    // A root file system may be a directory or an image of the host.
    let image = configuration.get("image").and_then(Value::as_object);
    let roots = image.into_iter().flat_map(|image| image.values()).filter_map(|root| root.get("path"));
    sources.extend(roots.filter_map(Value::as_str).map(host));
    Some(sources)
}

/// Builds the error of a failed read. `problem` completes the sentence that begins with the path.
fn unreadable(path: &Path, problem: impl std::fmt::Display) -> Error {
    Error::catalog(format!("of microsandbox, {path:?}, {problem}"))
}

fn unknown(path: &Path, problem: &str, newest_migration: Option<String>) -> Error {
    let newest = newest_migration.map_or("none".to_owned(), |version| format!("{version:?}"));
    unreadable(
        path,
        format!(
            "{problem}, so that it is of a version that is not known here (newest migration: {newest}). It was left as \
             it is; update sandbox-volumes or microsandbox."
        ),
    )
}

fn failed(path: &Path, error: rusqlite::Error) -> Error {
    let problem = match super::is_busy(&error) {
        true => "is locked by another program. Try again later.".to_owned(),
        false => format!("cannot be read: {error}"),
    };
    unreadable(path, problem).caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_lists_its_mounts() {
        let sources = mounted_sources(
            br#"{"image":{"Bind":{"path":"/root"}},"mounts":[{"type":"Named","name":"v"},
                {"type":"Tmpfs","guest":"/t"},{"type":"Bind","host":"/h"},{"type":"DiskImage","host":"/d"}]}"#,
        );
        let host = |path: &str| MountedSource::Host(PathBuf::from(path));
        let expected = [MountedSource::Volume("v".to_owned()), host("/h"), host("/d"), host("/root")];
        assert_eq!(sources.unwrap(), expected);
        assert_eq!(mounted_sources(b"{}").unwrap(), []);
    }

    #[test]
    fn a_configuration_that_is_not_understood_has_no_mounts() {
        for text in [
            "",
            "[]",
            "null",
            "{",
            r#"{"mounts":{}}"#,
            r#"{"mounts":[1]}"#,
            r#"{"mounts":[{}]}"#,
            r#"{"mounts":[{"type":"Named"}]}"#,
            r#"{"mounts":[{"type":"Named","name":1}]}"#,
            r#"{"mounts":[{"type":"Bind"}]}"#,
            r#"{"mounts":[{"type":"New","path":"/x"}]}"#,
        ] {
            assert_eq!(mounted_sources(text.as_bytes()), None, "{text}");
        }
        assert_eq!(mounted_sources(b"\xff"), None);
    }
}
