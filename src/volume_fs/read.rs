//! Reading whole files.

use super::{VolumePath, VolumeRoot};
use crate::error::{Error, Result};
use crate::sync::CancelToken;
use crate::sys::{Access, has_length, reserve_memory};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};

/// The largest file that `read` takes into memory: 2 GiB.
const LARGEST_READ: u64 = 2 << 30;

/// The largest file that `readString` takes: the longest string that JavaScript engines hold.
const LARGEST_STRING: u64 = 0x1fff_ffe8;

/// How much is read between two looks at the abort signal.
const CHUNK: u64 = 16 << 20;

/// How much is read at once beyond a file's stat length.
const PIECE_BEYOND: u64 = 128 << 10;

/// A regular file, open for reading, and how long it was then.
#[derive(Debug)]
pub struct OpenedFile {
    tree: VolumeRoot,
    path: VolumePath,
    file: File,
    size: u64,
}

impl VolumeRoot {
    /// Opens a regular file without ever waiting for one that is not: a FIFO, socket or device is refused.
    pub fn open_file(self, path: impl AsRef<OsStr>) -> Result<OpenedFile> {
        let path = VolumePath::parse(path)?;
        let (file, metadata) = self.open_regular(&path, Access::Read)?;
        Ok(OpenedFile { tree: self, path, file, size: metadata.len() })
    }
}

impl OpenedFile {
    /// The length when it was opened, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What the file held, at most as much as when it was opened: a file that grows meanwhile is not followed,
    /// one that shrinks gives less. One that yields more than its stat length is read to its end.
    pub fn read(self, cancel: &CancelToken) -> Result<Vec<u8>> {
        self.read_at_most(LARGEST_READ, cancel)
    }

    /// The same as text; invalid UTF-8 is an `EILSEQ` error.
    pub fn read_string(self, cancel: &CancelToken) -> Result<String> {
        let volume = self.tree.volume.clone();
        let path = self.path.as_str().to_owned();
        String::from_utf8(self.read_at_most(LARGEST_STRING, cancel)?).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let problem = format!("not valid UTF-8 at byte {at}; use read for the bytes");
            Error::file_system_because("read", &path, Errno::EILSEQ, &problem).in_volume(volume.as_str())
        })
    }

    fn read_at_most(mut self, most: u64, cancel: &CancelToken) -> Result<Vec<u8>> {
        if self.size > most {
            return Err(self.too_long(&format!("file is {} bytes long", self.size), most));
        }
        let refused = |error| self.tree.refused("read", &self.path, error);
        let reserved = reserve_memory(self.size as usize);
        let mut content = reserved.map_err(|_| refused(io::Error::from(Errno::ENOMEM)))?;
        let mut left = self.size;
        while left > 0 {
            cancel.check()?;
            let step = left.min(CHUNK);
            let got = (&mut self.file).take(step).read_to_end(&mut content).map_err(refused)? as u64;
            if got < step {
                return Ok(content);
            }
            left -= got;
        }
        self.read_beyond(&mut content, most, cancel)?;
        Ok(content)
    }

    /// Reads what the file yields beyond its stat length; nothing of one whose length changed since it was opened.
    fn read_beyond(&mut self, content: &mut Vec<u8>, most: u64, cancel: &CancelToken) -> Result<()> {
        let refused = |error| self.tree.refused("read", &self.path, error);
        loop {
            cancel.check()?;
            let before = content.len();
            let got = (&self.file).take(PIECE_BEYOND).read_to_end(content).map_err(refused)?;
            if got == 0 {
                return Ok(());
            }
            if !has_length(&self.file, self.size).map_err(refused)? {
                content.truncate(before);
                return Ok(());
            }
            if content.len() as u64 > most {
                return Err(self.too_long("file yields more than its length says", most));
            }
        }
    }

    fn too_long(&self, what: &str, most: u64) -> Error {
        let problem = format!("{what}, and at most {most} bytes are read into memory");
        let error = Error::file_system_because("read", self.path.as_str(), Errno::EFBIG, &problem);
        error.in_volume(self.tree.volume.as_str())
    }
}
