//! The path of a part of a volume, as text.

use super::option_names;
use crate::error::{Error, Result};
use crate::model::VolumePath;
use std::fmt;

/// The longest path and the longest name of Linux, in bytes.
const MAX_BYTES: usize = 4095;
const MAX_NAME_BYTES: usize = 255;

/// How many characters of a path that is too long a message shows.
const MAX_SHOWN_CHARS: usize = 64;

/// A relative, normalized path below a volume's root, without `..`. Links are resolved when it is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subpath(VolumePath);

impl Subpath {
    /// Parses a path. The error quotes it and says which rule it breaks.
    pub fn parse(path: &str) -> Result<Self> {
        let refuse = |problem: String| {
            let shown: String = path.chars().take(MAX_SHOWN_CHARS).collect();
            let more = if shown.len() < path.len() { "…" } else { "" };
            Err(Error::invalid_config(option_names::SUBPATH, format!("{shown:?}{more} {problem}")))
        };
        if path.starts_with('/') {
            return refuse("is absolute; write it as seen from the volume's root".to_owned());
        }
        if path.chars().any(char::is_control) {
            return refuse("contains a control character".to_owned());
        }
        let components: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if components.contains(&"..") {
            return refuse("contains \"..\"; write the path without it".to_owned());
        }
        if components.is_empty() {
            return refuse("names all of the volume; leave it unset for that".to_owned());
        }
        let joined = components.join("/");
        if joined.len() > MAX_BYTES {
            return refuse(format!("is {} bytes long; it has at most {MAX_BYTES}", joined.len()));
        }
        if let Some(name) = components.iter().find(|name| name.len() > MAX_NAME_BYTES) {
            return refuse(format!("has a name of {} bytes; one has at most {MAX_NAME_BYTES}", name.len()));
        }
        Ok(Subpath(VolumePath::parse(joined)?))
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the path, for the files of the volume.
    pub fn path(&self) -> &VolumePath {
        &self.0
    }
}

impl fmt::Display for Subpath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
