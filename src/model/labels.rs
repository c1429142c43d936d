//! The labels of a volume: small key-value metadata.

use super::option_names;
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The limit of all keys and values of a volume together, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// Keys, which are not empty, and values: at most 64 KiB together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// Validates keys and the total size.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self> {
        if pairs.contains_key("") {
            return Err(Error::invalid_config(option_names::LABELS, "a label's key must not be empty"));
        }
        let bytes: usize = pairs.iter().map(|(key, value)| key.len() + value.len()).sum();
        if bytes > MAX_BYTES {
            return Err(Error::invalid_config(
                option_names::LABELS,
                format!("keys and values take {bytes} bytes; at most {MAX_BYTES} are allowed"),
            ));
        }
        Ok(Labels(pairs))
    }

    /// Adds the labels of `later`, which replace those with the same key.
    pub fn merged_with(mut self, later: Labels) -> Result<Self> {
        self.0.extend(later.0);
        Labels::new(self.0)
    }

    /// Reports whether these labels include every label of `filter` with the same value.
    pub fn matches(&self, filter: &Labels) -> bool {
        filter.0.iter().all(|(key, value)| self.0.get(key) == Some(value))
    }

    /// Iterates over the pairs, sorted by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}
