//! Counts the progress of a copy, for other threads to read.

use crate::sync::IgnorePoison;
use crate::volume_fs::walk::cursor::TreePath;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Counters of a copy in progress.
#[derive(Debug, Default)]
pub struct Progress {
    files: AtomicU64,
    bytes: AtomicU64,
    skipped_links: AtomicU64,
    latest: Mutex<(Arc<TreePath>, OsString)>,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// Regular files and links that were copied.
    pub files: u64,
    /// Bytes of content that were copied, holes included.
    pub bytes: u64,
    /// Links that were left out because they may lead outside.
    pub skipped_links: u64,
    /// The path from the top of the file or link that was copied last.
    pub path: PathBuf,
}

impl Progress {
    /// Returns the current counters.
    pub fn stats(&self) -> CopyStats {
        let latest = self.latest.lock().ignore_poison();
        CopyStats {
            files: self.files.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            skipped_links: self.skipped_links.load(Ordering::Relaxed),
            path: latest.0.join(&latest.1),
        }
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_file(&self, dir_path: &Arc<TreePath>, name: &OsStr) {
        self.files.fetch_add(1, Ordering::Relaxed);
        let mut latest = self.latest.lock().ignore_poison();
        latest.0 = dir_path.clone();
        latest.1.clear();
        latest.1.push(name);
    }

    pub(super) fn add_skipped_link(&self) {
        self.skipped_links.fetch_add(1, Ordering::Relaxed);
    }
}
