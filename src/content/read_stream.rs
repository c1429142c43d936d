//! Reading a file piece by piece.

use super::{RelPath, Tree};
use crate::error::{Error, Result};
use crate::model::{Cancel, VolumeName};
use crate::sys::Access;
use std::ffi::OsStr;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, PoisonError};

/// Which bytes of a file are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadRange {
    /// The first one.
    pub start: u64,
    /// The last one; none is the last one that the file has when it is opened.
    pub end: Option<u64>,
}

/// A regular file that is read from one end of a range to the other. It holds one descriptor, which leads to the
/// file wherever it is moved meanwhile, also once its volume is removed.
#[derive(Debug)]
pub struct FileReader {
    volume: VolumeName,
    path: RelPath,
    file: File,
    rest: Mutex<Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    at: u64,
    end: u64,
}

impl Tree {
    /// Opens a regular file for reading piece by piece. What is beyond its end at this moment is not read, so that
    /// a file which somebody keeps adding to has an end.
    pub fn open_reader(self, path: impl AsRef<OsStr>, range: ReadRange) -> Result<FileReader> {
        let path = RelPath::parse(path)?;
        let (file, metadata) = self.open_regular(&path, Access::Read)?;
        let end = range.end.map_or(u64::MAX, |end| end.saturating_add(1)).min(metadata.len());
        let rest = Mutex::new(Rest { at: range.start.min(end), end });
        Ok(FileReader { volume: self.volume, path, file, rest })
    }
}

impl FileReader {
    /// How many bytes are to come, unless the file shrinks.
    pub fn left(&self) -> u64 {
        let rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.end - rest.at
    }

    /// Reads the next bytes into `buffer` and gives how many they are: fewer than it holds, or none, only where
    /// the range or the file ends. From then on there are none.
    pub fn read_next(&self, buffer: &mut [u8], cancel: &Cancel) -> Result<usize> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        let most = usize::try_from(rest.end - rest.at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut filled = 0;
        while filled < most {
            cancel.check()?;
            match self.file.read_at(&mut buffer[filled..most], rest.at + filled as u64) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let error = Error::file_system("read", self.path.as_str(), error);
                    return Err(error.in_volume(self.volume.as_str()));
                }
            }
        }
        rest.at += filled as u64;
        if filled < most {
            rest.end = rest.at;
        }
        Ok(filled)
    }
}
