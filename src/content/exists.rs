//! Telling whether something is there.

use super::{RelPath, Tree};
use crate::error::Result;
use std::io::ErrorKind;

impl Tree {
    /// Whether `path` leads to something, links inside the volume followed. Where that cannot be told, an error.
    pub fn exists(&self, path: &str) -> Result<bool> {
        let path = RelPath::parse(path)?;
        self.at("stat", &path, |dir, rest| match dir.metadata(rest) {
            Ok(_) => Ok(true),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
            Err(error) => Err(error),
        })
    }
}
