//! Connections that are not closed where another copy of SQLite in this process has the file open.
//!
//! Closing a file takes the locks of every copy from this process. As long as a connection of this copy that reads and
//! writes is open, this copy closes no file; so where there are others, one of each catalog stays. One that failed
//! before it came to that stays as well, and the next one to open that catalog tries again with it.

use super::CatalogLocks;
use crate::error::Result;
use crate::sync::IgnorePoison;
use rusqlite::{Connection, OpenFlags};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard};
use std::time::Instant;

/// Tells a file from a later one of its name: its device, and its number there.
pub type FileNumbers = (u64, u64);

struct RetainedConnection {
    connection: Connection,
    /// Keeps telling the others of this copy.
    _gates: Arc<CatalogLocks>,
    file: Option<FileNumbers>,
    is_ready: bool,
}

type ByPath = HashMap<PathBuf, Vec<RetainedConnection>>;

fn staying() -> MutexGuard<'static, ByPath> {
    static STAYING: LazyLock<Mutex<ByPath>> = LazyLock::new(Mutex::default);
    STAYING.lock().ignore_poison()
}

/// Opens a catalog's file, or takes a connection to it that stayed, and has it made ready; none where that says that it
/// cannot be. The caller has the copies' turn.
pub fn open(
    path: &Path,
    flags: OpenFlags,
    gates: &Arc<CatalogLocks>,
    make_ready: impl FnOnce(&mut Connection) -> Result<bool>,
) -> Result<Option<Connection>> {
    let before = (gates.file)();
    let stayed = before.and_then(|file| take(path, file));
    let mut connection = stayed.map_or_else(|| Connection::open_with_flags(path, flags), Ok)?;
    // Where somebody replaced it meanwhile, nobody knows which of the two was opened.
    let file = (gates.file)().filter(|after| before.is_none_or(|before| before == *after));
    let ready = make_ready(&mut connection);
    if matches!(ready, Ok(true)) {
        return Ok(Some(connection));
    }
    if (gates.has_copies)() {
        let stays = RetainedConnection { connection, _gates: gates.clone(), file, is_ready: false };
        staying().entry(path.to_owned()).or_default().push(stays);
    }
    ready.map(|_| None)
}

/// Takes a connection that stayed, and closes those to files that stood there before.
fn take(path: &Path, file: FileNumbers) -> Option<Connection> {
    let mut all = staying();
    let here = all.get_mut(path)?;
    here.retain(|staying| staying.file == Some(file));
    here.pop().map(|staying| staying.connection)
}

/// Closes connections of one catalog that are idle and ready, but for one where there are other copies.
pub fn close(
    path: &Path,
    file: Option<FileNumbers>,
    gates: &Arc<CatalogLocks>,
    connections: Vec<Connection>,
) {
    let mut closing = connections.into_iter();
    // Nobody is waited for: this may be any thread. While one of the others is in, there are others.
    let turn = (gates.copies)(Instant::now());
    if (turn.is_err() || (gates.has_copies)())
        && let Some(connection) = closing.next()
    {
        let mut all = staying();
        let here = all.entry(path.to_owned()).or_default();
        let (replaced, mut kept): (Vec<_>, Vec<_>) = here.drain(..).partition(|staying| staying.is_ready);
        kept.push(RetainedConnection { connection, _gates: gates.clone(), file, is_ready: true });
        *here = kept;
        drop(replaced);
    }
    // Within the turn.
    drop(closing);
    drop(turn);
}
