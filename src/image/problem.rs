//! Why an image is refused, where its path is not at hand.

use crate::error::Error;
use std::borrow::Cow;
use std::io;
use std::path::Path;

/// What is wrong with an image: completes the sentence that begins with its path.
pub type ImageProblem = Cow<'static, str>;

/// Why an image could not be inspected.
#[derive(Debug)]
pub(super) enum Failure {
    /// It is not what it must be.
    Unfit(ImageProblem),
    /// It is not what it must be, as somebody else found.
    Damaged(ImageProblem, io::Error),
    /// The system did not let us read it.
    Unreadable(io::Error),
}

impl Failure {
    /// The error for the image at `path`.
    pub fn of(self, path: &Path) -> Error {
        match self {
            Failure::Unfit(problem) => Error::disk_image(path, problem),
            Failure::Damaged(problem, cause) => Error::disk_image(path, problem).caused_by(cause),
            Failure::Unreadable(error) => Error::file_system("read", path, error),
        }
    }
}

impl From<ImageProblem> for Failure {
    fn from(problem: ImageProblem) -> Self {
        Failure::Unfit(problem)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Unreadable(error)
    }
}
