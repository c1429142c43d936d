//! Warnings of operations that succeed.

use super::Store;
use super::privacy::ExposedDir;
use crate::catalog::InvalidRow;
use crate::error::Result;
use crate::sync::IgnorePoison;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

/// Directories that this process has warned about.
static WARNED: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// Warnings of an open home. Each is returned once.
#[derive(Debug, Default)]
pub struct Warnings {
    reported: HashSet<String>,
    pending: Vec<String>,
    of_home: Vec<String>,
}

impl Store {
    /// Returns the warnings that were not returned before.
    pub fn take_warnings(&self) -> Result<Vec<String>> {
        let handle = self.handle()?;
        let mut warnings = handle.warnings.lock().ignore_poison();
        Ok(std::mem::take(&mut warnings.pending))
    }

    /// Returns the warnings about the home itself that were not returned before.
    pub fn take_home_warnings(&self) -> Vec<String> {
        let handle = self.last_handle();
        let mut warnings = handle.warnings.lock().ignore_poison();
        std::mem::take(&mut warnings.of_home)
    }
}

impl Warnings {
    /// Warns about directories of the home that are open to other users, once per directory in this process.
    pub fn add_exposed(&mut self, exposed: &[ExposedDir]) {
        let mut warned = WARNED.lock().ignore_poison();
        for exposed in exposed.iter().filter(|exposed| warned.insert(exposed.path.clone())) {
            let problem = exposed.problem();
            self.of_home.push(format!("{problem} VolumeStore.check({{ repair: true }}) makes it private."));
        }
    }

    /// Warns about rows that a listing skips.
    pub fn add_invalid(&mut self, rows: &[InvalidRow]) {
        for row in rows {
            let warning = format!(
                "The catalog's row of {:?} is left out: {}. VolumeStore.check({{ repair: true }}) deletes it.",
                row.name, row.problem
            );
            if self.reported.insert(warning.clone()) {
                self.pending.push(warning);
            }
        }
    }
}
