//! What a caller should hear of although its operation succeeded.

use super::privacy::ExposedDir;
use super::{Store, StoreHandle};
use crate::catalog::InvalidRow;
use crate::error::Result;
use crate::sync::IgnorePoison;
use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{LazyLock, Mutex};

/// The directories that this process has warned of.
static WARNED: LazyLock<Mutex<HashSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// Each warning is given once for an open home.
#[derive(Debug, Default)]
pub struct Warnings {
    given: HashSet<String>,
    waiting: Vec<String>,
    of_home: Vec<String>,
}

impl Store {
    /// The warnings that nobody has taken yet.
    pub fn take_warnings(&self) -> Result<Vec<String>> {
        let opened = self.opened()?;
        let mut warnings = opened.warnings.lock().ignore_poison();
        Ok(std::mem::take(&mut warnings.waiting))
    }

    /// Returns the warnings about the home itself that were not returned before.
    pub fn take_home_warnings(&self) -> Vec<String> {
        let opened = self.opened_before();
        let mut warnings = opened.warnings.lock().ignore_poison();
        std::mem::take(&mut warnings.of_home)
    }
}

impl StoreHandle {
    /// Warns of directories of the home that are open to other users, of each once in this process.
    pub(super) fn warn_of_exposed(&self, exposed: &[ExposedDir]) {
        let mut warned = WARNED.lock().ignore_poison();
        let mut warnings = self.warnings.lock().ignore_poison();
        for exposed in exposed.iter().filter(|exposed| warned.insert(exposed.path.clone())) {
            let problem = exposed.problem();
            warnings
                .of_home
                .push(format!("{problem} VolumeStore.check({{ repair: true }}) makes it private."));
        }
    }

    /// Warns of rows that are left out of a listing.
    pub(super) fn warn_of(&self, rows: &[InvalidRow]) {
        let mut warnings = self.warnings.lock().ignore_poison();
        for row in rows {
            let warning = format!(
                "The catalog's row of {:?} is left out: {}. VolumeStore.check({{ repair: true }}) strikes it out.",
                row.name, row.problem
            );
            if warnings.given.insert(warning.clone()) {
                warnings.waiting.push(warning);
            }
        }
    }
}
