//! Read access to microsandbox's catalog, `db/msb.db`. Nothing is written to it.
//!
//! A connection stays open until the process ends. POSIX releases the locks of a process on a file when the process
//! closes any descriptor of the file. microsandbox's SDK may have its own SQLite, with locks, in this process.

mod connections;
mod sandboxes;
mod schema;

pub use sandboxes::{ActiveSandbox, MountedSource};

use super::failure::is_busy;
use crate::error::{Error, Result};
use crate::model::{VolumeKind, VolumeName};
use rusqlite::OptionalExtension;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file of microsandbox's catalog.
pub struct MsbCatalog {
    /// Path of the catalog.
    pub path: PathBuf,
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
    let problem = match is_busy(&error) {
        true => "is locked by another program. Try again later.".to_owned(),
        false => format!("cannot be read: {error}"),
    };
    unreadable(path, problem).caused_by(error)
}
