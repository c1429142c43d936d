//! What a caller should hear of although its operation succeeded.

use super::{Opened, Store};
use crate::catalog::UnusableRow;
use crate::error::Result;
use std::collections::HashSet;
use std::sync::PoisonError;

/// Each warning is given once for an open home.
#[derive(Debug, Default)]
pub struct Warnings {
    given: HashSet<String>,
    waiting: Vec<String>,
}

impl Store {
    /// The warnings that nobody has taken yet.
    pub fn take_warnings(&self) -> Result<Vec<String>> {
        let opened = self.opened()?;
        let mut warnings = opened.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut warnings.waiting))
    }
}

impl Opened {
    /// Warns of rows that are left out of a listing.
    pub(super) fn warn_of(&self, rows: &[UnusableRow]) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
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
