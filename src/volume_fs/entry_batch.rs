//! Entries of a listing, in columns.

use super::EntryMetadata;
use crate::sys::ext::OsStrExt;
use std::ffi::OsStr;
use std::path::PathBuf;

/// A batch of entries, in columns.
#[derive(Debug, Default)]
pub struct EntryBatch {
    /// For each run of entries of one directory: the prefix of their paths, then their names. A NUL ends each of these.
    pub text: Vec<u8>,
    /// The number of entries in each run.
    pub runs: Vec<u32>,
    /// The metadata of each entry.
    pub metadata: Vec<EntryMetadata>,
    /// Whether this is the last batch.
    pub is_last: bool,
}

impl EntryBatch {
    /// Returns the entries with their paths from the volume's root.
    pub fn entries(&self) -> impl Iterator<Item = (PathBuf, EntryMetadata)> {
        let mut texts = self.text.split(|byte| *byte == 0);
        let paths = self.runs.iter().flat_map(move |count| {
            let prefix = texts.next().unwrap_or_default();
            let names: Vec<_> = texts.by_ref().take(*count as usize).collect();
            names.into_iter().map(move |name| PathBuf::from(OsStr::from_bytes(&[prefix, name].concat())))
        });
        paths.zip(self.metadata.iter().copied())
    }

    /// Begins a run of entries whose paths begin with `prefix`.
    pub(super) fn begin_run(&mut self, prefix: &[u8]) {
        self.text.extend_from_slice(prefix);
        self.text.push(0);
        self.runs.push(0);
    }

    /// Adds an entry to the current run. `name` ends with a NUL.
    pub(super) fn add(&mut self, name: &[u8], metadata: EntryMetadata) {
        self.text.extend_from_slice(name);
        self.metadata.push(metadata);
        if let Some(run) = self.runs.last_mut() {
            *run += 1;
        }
    }
}
