//! Opens an image at a path that the host's user chose.

use crate::error::{Error, Result};
use crate::sys::fd::OwnedFd;
use crate::sys::{FileId, Found, HostFile, open_host_file};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// An image that is open for reading.
#[derive(Debug)]
pub struct OpenedImage {
    /// The image: a regular file.
    pub file: File,
    /// The image's directory.
    pub directory: OwnedFd,
    /// The image's path, without links.
    pub path: PathBuf,
}

/// Opens the image at a host path. Follows links. `refuse` gets the image's path and identity before it is opened, and
/// may fail.
///
/// Fails for a file that is not regular, without opening it for I/O: so a FIFO does not block the call, and a driver
/// does not notice it.
pub fn open(path: &Path, refuse: impl FnOnce(&Path, FileId) -> Result<()>) -> Result<OpenedImage> {
    let found = open_host_file(path, |real, id| refuse(real, id).map_err(Refusal::Ours));
    let found = found.map_err(|refusal| match refusal {
        Refusal::Ours(error) => error,
        Refusal::Systems(error) => Error::file_system("open", path, error),
    })?;
    match found {
        Found::Regular(HostFile { file, directory, path }) => {
            Ok(OpenedImage { file: File::from(file), directory, path })
        }
        Found::Other(kind) => Err(Error::disk_image(
            path,
            format_args!("is {kind}, not a regular file. Give the image's own file."),
        )),
    }
}

enum Refusal {
    Ours(Error),
    Systems(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Refusal::Systems(error)
    }
}
