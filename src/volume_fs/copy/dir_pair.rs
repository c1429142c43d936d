//! The same directory in both trees of a copy.

use super::endpoint::{EndpointResult, EndpointSide};
use crate::error::Errno;
use crate::sys::fd::{AsFd, OwnedFd};
use crate::sys::open_subdirectory;
use crate::volume_fs::walk::cursor::WalkHandle;
use std::io;
use std::path::Path;

/// The same directory on both sides.
#[derive(Debug)]
pub struct DirPair {
    pub from: OwnedFd,
    pub to: OwnedFd,
}

impl WalkHandle for DirPair {
    type Error = (EndpointSide, io::Error);

    fn open_below(&self, path: &Path) -> EndpointResult<Self> {
        let from = open_subdirectory(self.from.as_fd(), path);
        let from = from.map_err(|error| (EndpointSide::From, busy(error)))?;
        let to = open_subdirectory(self.to.as_fd(), path);
        let to = to.map_err(|error| (EndpointSide::To, busy(error)))?;
        Ok(DirPair { from, to })
    }
}

/// Turns `EXDEV` into `EBUSY`. A copy enters no mount, and the kernel reports the same for a directory that was moved
/// while it was opened.
pub fn busy(error: io::Error) -> io::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EXDEV) => Errno::EBUSY.into(),
        _ => error,
    }
}
