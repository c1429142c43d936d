//! Metadata of a directory's entries, as a listing returns it.

use crate::sys::FileStat;
use std::time::SystemTime;

/// Metadata of one entry; for a link, that of the link itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMetadata {
    /// Kind and permission bits, as in `st_mode`.
    pub mode: u32,
    /// The length in bytes.
    pub size: u64,
    /// When the content last changed; `None` if the file system returns an invalid time.
    pub modified: Option<SystemTime>,
}

impl EntryMetadata {
    pub(super) fn of(found: &FileStat) -> Self {
        EntryMetadata { mode: found.type_and_mode(), size: found.length(), modified: found.modified() }
    }
}
