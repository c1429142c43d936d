//! Reading a file piece by piece.

use super::{VolumePath, VolumeRoot};
use crate::error::{Error, Result};
use crate::model::VolumeName;
use crate::sync::{CancelToken, IgnorePoison};
use crate::sys::{Access, TransferBuffer, has_length, read_piece};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

/// Which bytes of a file are read.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadRange {
    /// The first one.
    pub start: u64,
    /// The last one; none is the last one that the file has when it is opened, or yields if that is more.
    pub end: Option<u64>,
}

/// A regular file that is read from one end of a range to the other. It holds one descriptor, which leads to the
/// file wherever it is moved meanwhile, also once its volume is removed.
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
    /// Opens a regular file for reading piece by piece. What is beyond its end at this moment is not read, so that
    /// a file which somebody keeps adding to has an end. One that yields more than its stat length is read to its end.
    pub fn open_reader(self, path: impl AsRef<OsStr>, range: ReadRange) -> Result<FileReader> {
        let path = VolumePath::parse(path)?;
        let (file, metadata) = self.open_regular(&path, Access::Read)?;
        let (asked, found) = (range.end.map_or(u64::MAX, |end| end.saturating_add(1)), metadata.len());
        let refused = |error| self.refused("read", &path, error);
        let end = match asked > found && yields_more(&file, found).map_err(refused)? {
            true => asked,
            false => asked.min(found),
        };
        let rest = Mutex::new(Rest { at: range.start.min(end), end, found });
        Ok(FileReader { volume: self.volume, path, file, rest })
    }
}

/// Whether bytes come beyond the stat length, which does not change meanwhile.
fn yields_more(file: &File, found: u64) -> io::Result<bool> {
    let mut buffer = TransferBuffer::default();
    let is_at_end = read_piece(file, found, 1, &mut buffer)?.is_empty();
    Ok(!is_at_end && has_length(file, found)?)
}

impl FileReader {
    /// How many bytes are to come at most.
    pub fn left(&self) -> u64 {
        let rest = self.rest.lock().ignore_poison();
        rest.end - rest.at
    }

    /// Reads the next bytes into `buffer` and gives how many they are: fewer than it holds, or none, only where
    /// the range or the file ends. From then on there are none.
    pub fn read_next(&self, buffer: &mut [u8], cancel: &CancelToken) -> Result<usize> {
        let mut rest = self.rest.lock().ignore_poison();
        let most = usize::try_from(rest.end - rest.at).map_or(buffer.len(), |left| left.min(buffer.len()));
        let mut filled = 0;
        while filled < most {
            cancel.check()?;
            match self.file.read_at(&mut buffer[filled..most], rest.at + filled as u64) {
                Ok(0) => break,
                Ok(got) => filled += got,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.refused(error)),
            }
        }
        let beyond = (rest.at + filled as u64).saturating_sub(rest.found);
        if beyond > 0 && !has_length(&self.file, rest.found).map_err(|error| self.refused(error))? {
            // Another process writes to it after all.
            filled -= usize::try_from(beyond).map_or(filled, |beyond| beyond.min(filled));
        }
        rest.at += filled as u64;
        if filled < most {
            rest.end = rest.at;
        }
        Ok(filled)
    }

    fn refused(&self, error: io::Error) -> Error {
        Error::file_system("read", self.path.as_str(), error).in_volume(self.volume.as_str())
    }
}
