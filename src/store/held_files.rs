//! The files that attachments hand on by their descriptors, open as long as their attachment lasts: attached disks, and
//! parts of volumes.
//!
//! A runtime is given such a descriptor or its path, and other homes see our locks on a disk, so these belong to the
//! process: not to a store, which may be opened anew or be let go of while its attachments last.

use crate::sys::HeldFile;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// What one attachment keeps open.
#[derive(Debug, Default)]
pub struct Held {
    /// The files of its disks.
    pub disks: Vec<HeldFile>,
    /// The parts of volumes that it mounts.
    pub parts: Vec<OwnedFd>,
}

/// By the attachment's number, which is drawn at random.
fn held() -> MutexGuard<'static, HashMap<i64, Held>> {
    static HELD: LazyLock<Mutex<HashMap<i64, Held>>> = LazyLock::new(Mutex::default);
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the files of an attachment open.
pub fn keep_open(attachment: i64, files: Held) {
    if !files.disks.is_empty() || !files.parts.is_empty() {
        held().insert(attachment, files);
    }
}

/// Closes the files of an attachment that has ended.
pub fn close(attachment: i64) {
    drop(held().remove(&attachment));
}

/// Whether the files of an attachment that has some are open.
pub fn are_open(attachment: i64) -> bool {
    held().contains_key(&attachment)
}
