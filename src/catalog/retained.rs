//! Connections that stay open while another instance in this process has the catalog open.
//!
//! Closing any descriptor of a file releases the locks of all instances in this process. SQLite closes no descriptor
//! while a connection of the same instance, open for reading and writing, remains. So one connection of each catalog
//! is retained while other instances exist. A connection whose preparation failed is retained too, and the next
//! opening of that catalog uses it.

use super::CatalogLocks;
use crate::error::Result;
use crate::sync::IgnorePoison;
use crate::sys::FileId;
use rusqlite::{Connection, OpenFlags};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Instant;

struct RetainedConnection {
    connection: Connection,
    /// Keeps this instance announced to the others.
    _locks: Arc<CatalogLocks>,
    file: Option<FileId>,
    is_ready: bool,
}

type ByPath = HashMap<PathBuf, Vec<RetainedConnection>>;

fn retained() -> MutexGuard<'static, ByPath> {
    static RETAINED: LazyLock<Mutex<ByPath>> = LazyLock::new(Mutex::default);
    RETAINED.lock().ignore_poison()
}

/// Opens a catalog's file, or takes a retained connection to it, and calls `make_ready`. Returns `None` if
/// `make_ready` returns false. The caller holds the instance lock.
pub fn open(
    locks: &Arc<CatalogLocks>,
    flags: OpenFlags,
    make_ready: impl FnOnce(&mut Connection) -> Result<bool>,
) -> Result<Option<Connection>> {
    let (path, before) = (locks.path(), locks.file());
    let reused = before.and_then(|file| take(path, file));
    let mut connection = reused.map_or_else(|| Connection::open_with_flags(path, flags), Ok)?;
    // TOCTOU: if the file was replaced during the opening, it is unknown which file was opened.
    let file = locks.file().filter(|after| before.is_none_or(|before| before == *after));
    let ready = make_ready(&mut connection);
    if matches!(ready, Ok(true)) {
        return Ok(Some(connection));
    }
    if locks.has_other_instances() {
        let unprepared = RetainedConnection { connection, _locks: locks.clone(), file, is_ready: false };
        retained().entry(path.to_owned()).or_default().push(unprepared);
    }
    ready.map(|_| None)
}

/// Takes a retained connection to `file`. Closes the connections to earlier files at the path.
fn take(path: &Path, file: FileId) -> Option<Connection> {
    let mut all = retained();
    let here = all.get_mut(path)?;
    here.retain(|retained| retained.file == Some(file));
    here.pop().map(|retained| retained.connection)
}

/// Closes idle connections of one catalog. Retains one of them while other instances exist.
pub fn close(locks: &Arc<CatalogLocks>, file: Option<FileId>, connections: Vec<Connection>) {
    let mut closing = connections.into_iter();
    // No wait: this may run on any thread. A held lock means that another instance exists.
    let instance_lock = locks.exclude_instances(Instant::now());
    if (instance_lock.is_err() || locks.has_other_instances())
        && let Some(connection) = closing.next()
    {
        let mut all = retained();
        let here = all.entry(locks.path().to_owned()).or_default();
        let (replaced, mut kept): (Vec<_>, Vec<_>) = here.drain(..).partition(|retained| retained.is_ready);
        kept.push(RetainedConnection { connection, _locks: locks.clone(), file, is_ready: true });
        *here = kept;
        drop(replaced);
    }
    // Connections are closed while the instance lock is held.
    drop(closing);
    drop(instance_lock);
}
