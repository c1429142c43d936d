//! The files of attached disks, open as long as their attachment lasts.
//!
//! A runtime is given the path of a descriptor of ours, and other homes see our locks on it, so these belong to the
//! process: not to a store, which may be opened anew or be let go of while its attachments last.

use crate::sys::HeldFile;
use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// By the attachment's number, which is drawn at random.
fn held() -> MutexGuard<'static, HashMap<i64, Vec<HeldFile>>> {
    static HELD: LazyLock<Mutex<HashMap<i64, Vec<HeldFile>>>> = LazyLock::new(Mutex::default);
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps the files of an attachment open.
pub fn keep_open(attachment: i64, files: Vec<HeldFile>) {
    if !files.is_empty() {
        held().insert(attachment, files);
    }
}

/// Closes the files of an attachment that has ended.
pub fn close(attachment: i64) {
    drop(held().remove(&attachment));
}

/// Whether the files of an attachment with disks are open.
pub fn are_open(attachment: i64) -> bool {
    held().contains_key(&attachment)
}
