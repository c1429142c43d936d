//! Leftovers that no process could delete, so that each opening of the home does not start one for each of them again.

use super::layout::HomeDirs;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{Read, Write};

/// A file in the trash directory that lists them, an entry's name a line. No entry has its name.
const KEPT: &str = ".kept";

/// How long the list may become, in bytes. Longer, it is begun again.
const MAX_LENGTH: u64 = 64 << 10;

impl HomeDirs {
    /// Whether a leftover is listed. The names of leftovers are never used again.
    pub fn is_kept(&self, entry: &str) -> bool {
        self.kept().is_some_and(|list| list.lines().any(|kept| kept == entry))
    }

    /// Adds a leftover to the list. If that is refused, the next opening tries to delete it as this one did.
    pub fn keep(&self, entry: &str) {
        let mut list = self.kept().unwrap_or_default();
        list.push_str(entry);
        list.push('\n');
        let _refused = self.trash.unlink(KEPT).and_then(|()| {
            let mut file = File::from(self.trash.open_or_create_file(KEPT)?);
            let written = file.write_all(list.as_bytes());
            written.map_err(|error| Error::file_system("write", self.trash.path_of(KEPT), error))
        });
    }

    /// Empties the list.
    pub fn keep_none(&self) -> Result<()> {
        self.trash.unlink(KEPT)
    }

    fn kept(&self) -> Option<String> {
        let file = self.trash.open_existing_file(KEPT).ok()??;
        let mut list = String::new();
        File::from(file).take(MAX_LENGTH + 1).read_to_string(&mut list).ok()?;
        (list.len() as u64 <= MAX_LENGTH).then_some(list)
    }
}
