//! Reading whole files.

use super::{RelPath, Tree};
use crate::error::{Error, Result};
use crate::model::Cancel;
use crate::sys::Access;
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

/// A regular file, open for reading, and how long it was then.
#[derive(Debug)]
pub struct OpenedFile {
    tree: Tree,
    path: RelPath,
    file: File,
    size: u64,
}

impl Tree {
    /// Opens a regular file without ever waiting for one that is not: a FIFO, socket or device is refused.
    pub fn open_file(self, path: impl AsRef<OsStr>) -> Result<OpenedFile> {
        let path = RelPath::parse(path)?;
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
    /// one that shrinks gives less.
    pub fn read(self, cancel: &Cancel) -> Result<Vec<u8>> {
        self.read_at_most(LARGEST_READ, cancel)
    }

    /// The same as text; invalid UTF-8 is an `EILSEQ` error.
    pub fn read_string(self, cancel: &Cancel) -> Result<String> {
        let volume = self.tree.volume.clone();
        let path = self.path.as_str().to_owned();
        String::from_utf8(self.read_at_most(LARGEST_STRING, cancel)?).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let problem = format!("not valid UTF-8 at byte {at}; use read for the bytes");
            Error::file_system_because("read", &path, Errno::EILSEQ, &problem).in_volume(volume.as_str())
        })
    }

    fn read_at_most(mut self, most: u64, cancel: &Cancel) -> Result<Vec<u8>> {
        if self.size > most {
            let problem =
                format!("file is {} bytes long, and at most {most} are read into memory", self.size);
            let error = Error::file_system_because("read", self.path.as_str(), Errno::EFBIG, &problem);
            return Err(error.in_volume(self.tree.volume.as_str()));
        }
        let mut content = Vec::new();
        let refused = |error| self.tree.refused("read", &self.path, error);
        content.try_reserve_exact(self.size as usize).map_err(|_| refused(io::Error::from(Errno::ENOMEM)))?;
        let mut left = self.size;
        while left > 0 {
            cancel.check()?;
            let step = left.min(CHUNK);
            let got = (&mut self.file).take(step).read_to_end(&mut content).map_err(refused)? as u64;
            if got < step {
                break;
            }
            left -= got;
        }
        Ok(content)
    }
}
