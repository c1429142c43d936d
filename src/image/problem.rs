//! The reason why an image is refused, without its path.

use crate::error::Error;
use std::borrow::Cow;
use std::io;
use std::path::Path;

/// The problem of an image. The text completes the sentence that begins with its path.
pub type ImageProblem = Cow<'static, str>;

/// Why an image could not be inspected.
#[derive(Debug)]
pub(super) enum Failure {
    /// The image is invalid.
    Invalid(ImageProblem),
    /// A library or a system call failed on the image.
    Damaged(ImageProblem, io::Error),
    /// The image could not be read.
    Unreadable(io::Error),
}

impl Failure {
    /// Converts to the error for the image at `path`.
    pub fn of(self, path: &Path) -> Error {
        match self {
            Failure::Invalid(problem) => Error::disk_image(path, problem),
            Failure::Damaged(problem, cause) => Error::disk_image(path, problem).caused_by(cause),
            Failure::Unreadable(error) => Error::file_system("read", path, error),
        }
    }
}

impl From<ImageProblem> for Failure {
    fn from(problem: ImageProblem) -> Self {
        Failure::Invalid(problem)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Unreadable(error)
    }
}
