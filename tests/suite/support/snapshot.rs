//! Records all that can be seen of a tree: names, kinds, contents, modes, and when its directories were changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The entries at and below a path, which itself has the empty path.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(pub BTreeMap<PathBuf, Entry>);

#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub mode: u32,
    pub modified: (i64, i64),
    /// A file's bytes or a link's target.
    pub content: Vec<u8>,
}

impl Snapshot {
    pub fn of(root: &Path) -> Self {
        let mut entries = BTreeMap::new();
        let mut pending = vec![PathBuf::new()];
        while let Some(path) = pending.pop() {
            let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(&path) };
            let metadata = fs::symlink_metadata(&full).unwrap();
            let content = if metadata.is_symlink() {
                fs::read_link(&full).unwrap().as_os_str().as_bytes().to_vec()
            } else if metadata.is_file() {
                fs::read(&full).unwrap()
            } else {
                Vec::new()
            };
            if metadata.is_dir() {
                pending
                    .extend(fs::read_dir(&full).unwrap().map(|entry| path.join(entry.unwrap().file_name())));
            }
            let modified = (metadata.mtime(), metadata.mtime_nsec());
            entries.insert(path, Entry { mode: metadata.mode(), modified, content });
        }
        Snapshot(entries)
    }
}
