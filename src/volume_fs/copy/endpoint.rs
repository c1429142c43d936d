//! The two sides of a copy, as messages name them.

use crate::error::{Error, Result};
use crate::model::VolumeName;
use nix::errno::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// Where one side of a copy begins.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// The path as the caller gave it.
    shown: PathBuf,
    /// The volume that it is in; none for one of the host's.
    volume: Option<VolumeName>,
}

impl Endpoint {
    /// A side within a volume.
    pub fn in_volume(shown: impl Into<PathBuf>, volume: &VolumeName) -> Self {
        Endpoint { shown: shown.into(), volume: Some(volume.clone()) }
    }

    /// A side on the host.
    pub fn on_host(shown: impl Into<PathBuf>) -> Self {
        Endpoint { shown: shown.into(), volume: None }
    }

    /// Whether a guest may change it.
    pub(super) fn is_in_a_volume(&self) -> bool {
        self.volume.is_some()
    }

    /// The path of what is at `below`.
    pub(super) fn path_of(&self, below: &Path) -> PathBuf {
        match (self.shown.as_os_str().is_empty(), below.as_os_str().is_empty()) {
            (_, true) => self.shown.clone(),
            (true, false) => below.to_owned(),
            (false, false) => self.shown.join(below),
        }
    }

    pub(super) fn refused(&self, syscall: &'static str, below: &Path, error: impl Into<io::Error>) -> Error {
        self.named(Error::file_system(syscall, self.path_of(below), error.into()))
    }

    pub(super) fn refused_because(&self, below: &Path, errno: Errno, problem: &str) -> Error {
        let path = self.path_of(below);
        self.named(Error::file_system_because("copy", &path.to_string_lossy(), errno, problem))
    }

    /// A link that would lead outside.
    pub(super) fn escape(&self, below: &Path) -> Error {
        self.named(Error::link_escape(&self.path_of(below).to_string_lossy()))
    }

    /// An error of a step on a temp file that was taken for what is at `below`.
    pub(super) fn failed_for(&self, below: &Path, error: Error) -> Error {
        self.named(error.at_path(&self.path_of(below).to_string_lossy()))
    }

    fn named(&self, error: Error) -> Error {
        match &self.volume {
            Some(volume) => error.in_volume(volume.as_str()),
            None => error,
        }
    }
}

/// EndpointSide of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointSide {
    From,
    To,
}

/// A refusal on one side.
pub type EndpointResult<T> = std::result::Result<T, (EndpointSide, io::Error)>;

/// Both.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub from: Endpoint,
    pub to: Endpoint,
}

impl Endpoints {
    pub fn named<T>(
        &self,
        syscall: &'static str,
        below: impl FnOnce() -> PathBuf,
        result: EndpointResult<T>,
    ) -> Result<T> {
        result.map_err(|(which, error)| match which {
            EndpointSide::From => self.from.refused(syscall, &below(), error),
            EndpointSide::To => self.to.refused(syscall, &below(), error),
        })
    }
}
