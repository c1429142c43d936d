//! The path of a mount in the guest.

use crate::error::{Error, Result};
use std::cmp::Ordering;
use std::fmt;

/// The longest path of Linux, in bytes.
const MAX_BYTES: usize = 4095;

/// An absolute, normalized path in the guest that the guest system does not reserve. Parents sort before children.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GuestPath(String);

impl GuestPath {
    /// Parses a path. The error quotes it and says which rule it breaks.
    pub fn parse(path: &str) -> Result<Self> {
        if path.len() > MAX_BYTES {
            let bytes = path.len();
            let shown = path.chars().take(64).collect::<String>() + "…";
            let problem = format!("is {bytes} bytes long; a guest path has at most {MAX_BYTES}");
            return Err(Error::invalid_guest_path(&shown, problem));
        }
        let refuse = |problem| Err(Error::invalid_guest_path(path, problem));
        if !path.starts_with('/') {
            return refuse("is not absolute; start it with \"/\"");
        }
        if path.chars().any(char::is_control) {
            return refuse("contains a control character");
        }
        if path.contains([':', ';', ',']) {
            return refuse(
                "contains \":\", \";\" or \",\", which separate fields in the runtimes' own notations",
            );
        }
        let components: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        if components.contains(&"..") {
            return refuse("contains \"..\"; write the path without it");
        }
        match components[..] {
            [] => return refuse("is the guest's root; mount below it"),
            ["proc" | "sys", ..] => return refuse("is the guest kernel's own; mount outside /proc and /sys"),
            ["dev"] => return refuse("is the guest system's own; mount below it, as in /dev/shm"),
            _ => {}
        }
        Ok(GuestPath(format!("/{}", components.join("/"))))
    }

    /// Returns the path relative to `above`, or `None` if it is not below `above`.
    pub fn below(&self, above: &GuestPath) -> Option<&str> {
        self.0.strip_prefix(&above.0)?.strip_prefix('/')
    }

    /// Returns the path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for GuestPath {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.split('/').cmp(other.0.split('/'))
    }
}

impl PartialOrd for GuestPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for GuestPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
