//! A list of leftovers that could not be deleted, not even by a helper process. Without it, each opening of the home
//! would start that process for each of them again.

use super::home_dirs::HomeDirs;
use crate::error::{Error, Result};
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;

/// The list, in the trash directory: one entry per line. No leftover has this name.
const LIST: &str = ".kept";

/// Maximum length of the list in bytes. A longer list is started again.
const MAX_LIST_BYTES: u64 = 64 << 10;

impl HomeDirs {
    /// Returns true if a leftover is in the list. The name of a leftover is never used again.
    pub fn is_undeletable(&self, entry: &str) -> bool {
        self.undeletable_list().is_some_and(|list| list.lines().any(|listed| listed == entry))
    }

    /// Adds a leftover to the list. If that fails, the next opening starts the helper process again.
    pub fn add_undeletable(&self, entry: &str) {
        let mut list = self.undeletable_list().unwrap_or_default();
        list.push_str(entry);
        list.push('\n');
        let _refused = self.trash.unlink(LIST).and_then(|()| {
            let mut file = File::from(self.trash.open_or_create_file(LIST)?);
            let written = file.write_all(list.as_bytes());
            written.map_err(|error| Error::file_system("write", self.trash.path_of(LIST), error))
        });
    }

    /// Deletes the list.
    pub fn clear_undeletable(&self) -> Result<()> {
        self.trash.unlink(LIST)
    }

    /// Returns the path of the list and the kind of the entry there, if it is not a file.
    pub fn invalid_undeletable_list(&self) -> Result<Option<(PathBuf, &'static str)>> {
        Ok(self.trash.non_file_at(LIST)?.map(|kind| (self.trash.path_of(LIST), kind)))
    }

    fn undeletable_list(&self) -> Option<String> {
        let file = self.trash.open_existing_file(LIST).ok()??;
        let mut list = String::new();
        File::from(file).take(MAX_LIST_BYTES + 1).read_to_string(&mut list).ok()?;
        (list.len() as u64 <= MAX_LIST_BYTES).then_some(list)
    }
}
