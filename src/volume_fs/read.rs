//! Reads whole files.

use super::{VolumePath, VolumeRoot};
use crate::error::{Errno, Error, Result};
use crate::sync::CancelToken;
use crate::sys::{Access, has_length, reserve_memory};
use std::fs::File;
use std::io::{self, Read};

/// The largest file that `read` takes into memory, in bytes: 2 GiB.
const MAX_READ_BYTES: u64 = 2 << 30;

/// The largest file that `readString` takes, in bytes: the longest string of JavaScript engines.
const MAX_STRING_BYTES: u64 = 0x1fff_ffe8;

/// How many bytes are read between two checks of the abort signal.
const MAX_CHUNK_BYTES: u64 = 16 << 20;

/// How many bytes are read at once beyond a file's stat length.
const BEYOND_CHUNK_BYTES: u64 = 128 << 10;

/// A regular file that is open for reading, and its length when it was opened.
#[derive(Debug)]
pub struct OpenedFile {
    tree: VolumeRoot,
    path: VolumePath,
    file: File,
    size: u64,
}

impl VolumeRoot {
    /// Opens a regular file. Refuses a FIFO, socket or device, and never waits for one.
    pub fn open_file(self, path: &VolumePath) -> Result<OpenedFile> {
        let (file, metadata) = self.open_regular(path, Access::Read)?;
        Ok(OpenedFile { tree: self, path: path.clone(), file, size: metadata.len() })
    }
}

impl OpenedFile {
    /// Returns the length in bytes when the file was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the content, at most as long as when the file was opened. A file that grows is not read further, and one
    /// that shrinks gives less. A file that yields more than its stat length is read to its end.
    pub fn read(self, cancel: &CancelToken) -> Result<Vec<u8>> {
        self.read_at_most(MAX_READ_BYTES, cancel)
    }

    /// Returns the content as text, like [`OpenedFile::read`]. Fails with `EILSEQ` if it is not valid UTF-8.
    pub fn read_string(self, cancel: &CancelToken) -> Result<String> {
        let volume = self.tree.volume.clone();
        let path = self.path.as_str().to_owned();
        String::from_utf8(self.read_at_most(MAX_STRING_BYTES, cancel)?).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let problem = format!("not valid UTF-8 at byte {at}; use read for the bytes");
            Error::file_system_because("read", &path, Errno::EILSEQ, &problem).in_volume(volume.as_str())
        })
    }

    fn read_at_most(mut self, max: u64, cancel: &CancelToken) -> Result<Vec<u8>> {
        if self.size > max {
            return Err(self.too_long_error(&format!("file is {} bytes long", self.size), max));
        }
        let io_error = |error| self.tree.io_error("read", &self.path, error);
        let reserved = reserve_memory(self.size as usize);
        let mut content = reserved.map_err(|_| io_error(io::Error::from(Errno::ENOMEM)))?;
        let mut left = self.size;
        while left > 0 {
            cancel.check()?;
            let step = left.min(MAX_CHUNK_BYTES);
            let got = (&mut self.file).take(step).read_to_end(&mut content).map_err(io_error)? as u64;
            if got < step {
                return Ok(content);
            }
            left -= got;
        }
        self.read_beyond(&mut content, max, cancel)?;
        Ok(content)
    }

    /// Reads what the file yields beyond its stat length; nothing if its length changed since it was opened.
    fn read_beyond(&mut self, content: &mut Vec<u8>, max: u64, cancel: &CancelToken) -> Result<()> {
        let io_error = |error| self.tree.io_error("read", &self.path, error);
        loop {
            cancel.check()?;
            let before = content.len();
            let got = (&self.file).take(BEYOND_CHUNK_BYTES).read_to_end(content).map_err(io_error)?;
            if got == 0 {
                return Ok(());
            }
            if !has_length(&self.file, self.size).map_err(io_error)? {
                content.truncate(before);
                return Ok(());
            }
            if content.len() as u64 > max {
                return Err(self.too_long_error("file yields more than its length says", max));
            }
        }
    }

    fn too_long_error(&self, what: &str, max: u64) -> Error {
        let problem = format!("{what}, and at most {max} bytes are read into memory");
        let error = Error::file_system_because("read", self.path.as_str(), Errno::EFBIG, &problem);
        error.in_volume(self.tree.volume.as_str())
    }
}
