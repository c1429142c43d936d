//! Adding to the end of files.

use super::account::BLOCK;
use super::usage::allocated;
use super::{Quota, RelPath, Tree, WriteOptions};
use crate::error::Result;
use crate::model::Cancel;
use crate::sys::Access;
use cap_std::fs::Metadata;
use std::ffi::OsStr;
use std::io::Write;

/// How data is added.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendOptions {
    /// The data is on disk before the call returns.
    pub durable: bool,
    /// The mode of a file that does not exist yet, less the umask; 0644 by default.
    pub mode: Option<u32>,
}

impl Tree {
    /// Adds `data` to the end of the regular file at `path`, made where it is missing; the directory that holds it
    /// must exist. What others add meanwhile stays (`O_APPEND`). A link that stays inside is followed.
    pub fn append(
        &self,
        path: impl AsRef<OsStr>,
        data: &[u8],
        options: AppendOptions,
        quota: Quota,
        cancel: &Cancel,
    ) -> Result<()> {
        let path = RelPath::parse(path)?;
        let admit = |found: Option<&Metadata>| {
            let length = data.len() as u64;
            let growth = found.map_or(length, |found| growth(found, length));
            quota.admit(self, path.as_str(), growth, 0, cancel)
        };
        let options = WriteOptions { atomic: false, durable: options.durable, mode: options.mode };
        let opened = self.open_or_make(&path, Access::Append, options, cancel, admit)?;
        self.fill(&path, opened, options, cancel, |file| file.write_all(data))
    }
}

/// How many bytes of new blocks adding `length` bytes takes. A sparse file's last block may be a hole.
fn growth(metadata: &Metadata, length: u64) -> u64 {
    let whole = metadata.len().next_multiple_of(BLOCK);
    let room = if allocated(metadata) >= whole { whole - metadata.len() } else { 0 };
    length.saturating_sub(room)
}
