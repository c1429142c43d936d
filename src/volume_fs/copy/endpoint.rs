//! The two sides of a copy, and their error messages.

use crate::error::{Errno, Error, Result};
use crate::model::VolumeName;
use std::io;
use std::path::{Path, PathBuf};

/// The root of one side of a copy.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The path as the caller gave it.
    shown: PathBuf,
    /// The volume that the path is in; `None` on the host.
    volume: Option<VolumeName>,
}

impl Endpoint {
    /// Returns a side within a volume.
    pub fn in_volume(shown: impl Into<PathBuf>, volume: &VolumeName) -> Self {
        Endpoint { shown: shown.into(), volume: Some(volume.clone()) }
    }

    /// Returns a side on the host.
    pub fn on_host(shown: impl Into<PathBuf>) -> Self {
        Endpoint { shown: shown.into(), volume: None }
    }

    /// Returns whether a guest may change this side.
    pub(super) fn is_in_a_volume(&self) -> bool {
        self.volume.is_some()
    }

    /// Returns the path of the entry at `below`.
    pub(super) fn path_of(&self, below: &Path) -> PathBuf {
        match (self.shown.as_os_str().is_empty(), below.as_os_str().is_empty()) {
            (_, true) => self.shown.clone(),
            (true, false) => below.to_owned(),
            (false, false) => self.shown.join(below),
        }
    }

    pub(super) fn io_error(&self, syscall: &'static str, below: &Path, error: impl Into<io::Error>) -> Error {
        self.with_volume(Error::file_system(syscall, self.path_of(below), error.into()))
    }

    pub(super) fn io_error_because(&self, below: &Path, errno: Errno, problem: &str) -> Error {
        let path = self.path_of(below);
        self.with_volume(Error::file_system_because("copy", &path.to_string_lossy(), errno, problem))
    }

    /// Returns the error for a link that would lead outside.
    pub(super) fn escape_error(&self, below: &Path) -> Error {
        self.with_volume(Error::link_escape(&self.path_of(below).to_string_lossy()))
    }

    /// Adds the path of the entry at `below` to an error of a step on its temp file.
    pub(super) fn temp_file_error(&self, below: &Path, error: Error) -> Error {
        self.with_volume(error.at_path(&self.path_of(below).to_string_lossy()))
    }

    fn with_volume(&self, error: Error) -> Error {
        match &self.volume {
            Some(volume) => error.in_volume(volume.as_str()),
            None => error,
        }
    }
}

/// Which side of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointSide {
    From,
    To,
}

/// The result of a step, whose error names the side.
pub type EndpointResult<T> = std::result::Result<T, (EndpointSide, io::Error)>;

/// Both sides of a copy.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub from: Endpoint,
    pub to: Endpoint,
}

impl Endpoints {
    pub fn map_io_error<T>(
        &self,
        syscall: &'static str,
        below: impl FnOnce() -> PathBuf,
        result: EndpointResult<T>,
    ) -> Result<T> {
        result.map_err(|(which, error)| match which {
            EndpointSide::From => self.from.io_error(syscall, &below(), error),
            EndpointSide::To => self.to.io_error(syscall, &below(), error),
        })
    }
}
