//! Adding to the end of files.

use super::usage::allocated;
use super::{Quota, RelPath, Tree};
use crate::error::Result;
use crate::model::Cancel;
use crate::sys::{Access, reopen};
use cap_std::fs::{Metadata, OpenOptions, OpenOptionsExt};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;

/// The mode of a file that did not exist, less the umask.
const NEW_FILE_MODE: u32 = 0o644;

/// The block size that file systems allocate by.
const BLOCK: u64 = 4096;

/// How often a file that comes and goes while we look is looked for again.
const RETRIES: usize = 16;

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
        for _ in 0..RETRIES {
            match self.open_regular(&path, Access::Append) {
                Ok((file, metadata)) => {
                    quota.admit(self, path.as_str(), growth(&metadata, data.len() as u64), 0, cancel)?;
                    cancel.commit()?;
                    return self.add(&path, &file, data, options.durable);
                }
                Err(error) if error.is_refusal(&[Errno::ENOENT]) => {}
                Err(error) => return Err(error),
            }
            let place = self.place(&path)?;
            quota.admit(self, path.as_str(), data.len() as u64, 0, cancel)?;
            cancel.check()?;
            let mut new = OpenOptions::new();
            new.append(true).create_new(true).mode(options.mode.unwrap_or(NEW_FILE_MODE));
            let file = match place.holder.open_with(&place.name, &new) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                created => created.map_err(|error| self.refused("open", &path, error))?.into_std(),
            };
            let added = cancel.commit().and_then(|()| self.add(&path, &file, data, options.durable));
            if added.is_err() {
                let removed = place.holder.remove_file(&place.name);
                removed.map_err(|error| self.refused("unlink", &path, error))?;
            } else if options.durable {
                // The holder's own descriptor cannot do I/O.
                let synced = reopen(place.holder.as_fd(), Access::Read).map(File::from);
                synced.and_then(|dir| dir.sync_all()).map_err(|error| self.refused("fsync", &path, error))?;
            }
            return added;
        }
        Err(self.refused("open", &path, Errno::EBUSY.into()))
    }

    fn add(&self, path: &RelPath, mut file: &File, data: &[u8], durable: bool) -> Result<()> {
        let added = file.write_all(data).and_then(|()| if durable { file.sync_all() } else { Ok(()) });
        added.map_err(|error| self.refused("write", path, error))
    }
}

/// How many bytes of new blocks adding `length` bytes takes. A sparse file's last block may be a hole.
fn growth(metadata: &Metadata, length: u64) -> u64 {
    let whole = metadata.len().next_multiple_of(BLOCK);
    let room = if allocated(metadata) >= whole { whole - metadata.len() } else { 0 };
    length.saturating_sub(room)
}
