//! The names of volumes.

use super::option_names;
use crate::error::{Error, Result};
use std::fmt;

/// The longest volume name, in bytes.
const MAX_BYTES: usize = 128;

/// A name of at most 128 bytes that matches `[A-Za-z0-9][A-Za-z0-9._-]*` and does not end with a dot.
///
/// It is safe as one path component, and never equals an entry of the store itself, which starts with a dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VolumeName(String);

impl VolumeName {
    /// Parses a name. The error says which rule it breaks.
    pub fn parse(name: &str) -> Result<Self> {
        let shown = name.chars().take(MAX_BYTES).collect::<String>();
        if name.is_empty() {
            return Err(Error::invalid_config(option_names::NAME, "a volume name must not be empty"));
        }
        if name.len() > MAX_BYTES {
            let bytes = name.len();
            return Err(Error::invalid_config(
                option_names::NAME,
                format!("{shown:?}… is {bytes} bytes long; a volume name has at most {MAX_BYTES}"),
            ));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(allowed) {
            return Err(Error::invalid_config(
                option_names::NAME,
                format!(
                    "{shown:?} is not a volume name: letters, digits, \".\", \"_\" and \"-\" only, \
                     starting with a letter or digit"
                ),
            ));
        }
        if name.ends_with('.') {
            return Err(Error::invalid_config(
                option_names::NAME,
                format!("{shown:?} must not end with a dot"),
            ));
        }
        Ok(VolumeName(name.to_owned()))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
