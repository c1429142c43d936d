//! Reads a file one chunk at a time.

use super::{VolumePath, VolumeRoot};
use crate::error::{Error, Result};
use crate::model::VolumeName;
use crate::sync::{CancelToken, IgnorePoison};
use crate::sys::ext::FileExt;
use crate::sys::{Access, TransferBuffer, has_length, read_piece};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::sync::Mutex;

/// The range of bytes to read from a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadRange {
    /// The offset of the first byte.
    pub start: u64,
    /// The offset of the last byte. `None` is the end of the file when it is opened, or beyond if it yields more.
    pub end: Option<u64>,
}

/// A regular file that is read through a range. It holds one descriptor, which stays valid when the file is moved or
/// its volume is removed.
#[derive(Debug)]
pub struct FileReader {
    volume: VolumeName,
    path: VolumePath,
    file: File,
    rest: Mutex<Rest>,
}

#[derive(Clone, Copy, Debug)]
struct Rest {
    at: u64,
    end: u64,
    /// The file's stat length when it was opened.
    found: u64,
}

impl VolumeRoot {
    /// Opens a regular file for reading in chunks. Reads nothing beyond its end at this moment, so that a file that
    /// grows has an end. A file that yields more than its stat length is read to its end.
    pub fn open_reader(self, path: &VolumePath, range: ReadRange) -> Result<FileReader> {
        let (file, metadata) = self.open_regular(path, Access::Read)?;
        let (asked, found) = (range.end.map_or(u64::MAX, |end| end.saturating_add(1)), metadata.len());
        let io_error = |error| self.io_error("read", path, error);
        let end = match asked > found && yields_more(&file, found).map_err(io_error)? {
            true => asked,
            false => asked.min(found),
        };
        let rest = Mutex::new(Rest { at: range.start.min(end), end, found });
        Ok(FileReader { volume: self.volume, path: path.clone(), file, rest })
    }
}

/// Returns whether the file yields bytes beyond its stat length while that length stays the same.
fn yields_more(file: &File, found: u64) -> io::Result<bool> {
    let mut buffer = TransferBuffer::default();
    let is_at_end = read_piece(file, found, 1, &mut buffer)?.is_empty();
    Ok(!is_at_end && has_length(file, found)?)
}

impl FileReader {
    /// Returns the most bytes that are left to read.
    pub fn left(&self) -> u64 {
        let rest = self.rest.lock().ignore_poison();
        rest.end - rest.at
    }

    /// Reads the next bytes into `buffer` and returns their number. It is less than the buffer's length only at the end
    /// of the range or file. From then on it is 0.
    pub fn read_next(&self, buffer: &mut [u8], cancel: &CancelToken) -> Result<usize> {
        let mut rest = self.rest.lock().ignore_poison();
        let max = usize::try_from(rest.end - rest.at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut filled = 0;
        while filled < max {
            cancel.check()?;
            match self.file.read_at(&mut buffer[filled..max], rest.at + filled as u64) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.io_error(error)),
            }
        }
        let beyond = (rest.at + filled as u64).saturating_sub(rest.found);
        if beyond > 0 && !has_length(&self.file, rest.found).map_err(|error| self.io_error(error))? {
            // Another process writes to the file after all.
            filled -= usize::try_from(beyond).map_or(filled, |beyond| beyond.min(filled));
        }
        rest.at += filled as u64;
        if filled < max {
            rest.end = rest.at;
        }
        Ok(filled)
    }

    fn io_error(&self, error: io::Error) -> Error {
        Error::file_system("read", self.path.as_str(), error).in_volume(self.volume.as_str())
    }
}
