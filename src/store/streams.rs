//! Files of a volume that are read and written piece by piece.

use super::{Opened, VolumeFiles};
use crate::content::{FileReader, FileWriter, Quota, ReadRange, WriteFrom, WriteOptions, WriteRules};
use crate::error::{Error, Result};
use crate::model::Cancel;
use std::ffi::OsStr;
use std::sync::Arc;

/// How much is written between two looks at the abort signal, and in one turn where writers take turns.
const PIECE: usize = 4 << 20;

impl VolumeFiles {
    /// Opens a regular file for reading piece by piece.
    pub fn open_reader(&self, path: impl AsRef<OsStr>, range: ReadRange) -> Result<FileReader> {
        self.tree()?.open_reader(path, range)
    }

    /// Opens or makes a file for writing piece by piece.
    pub fn open_writer(
        &self,
        path: impl AsRef<OsStr>,
        options: WriteOptions,
        from: WriteFrom,
        cancel: &Cancel,
    ) -> Result<StreamWriter> {
        let opened = self.store.opened()?;
        let tree = self.tree_of(&opened)?;
        let quota_mib = opened.volume(&self.name)?.quota_mib;
        let open = || tree.open_writer(path, options, from, &rules(&opened, quota_mib), cancel);
        let file = match quota_mib {
            // It may make an entry, which takes room.
            Some(_) => opened.in_turn(&self.name, &cancel.of_a_step(), open)?,
            None => open()?,
        };
        Ok(StreamWriter { files: self.clone(), opened, quota_mib, file, finished: false })
    }
}

fn rules(opened: &Opened, quota_mib: Option<u32>) -> WriteRules<'_> {
    WriteRules { staging: &opened.layout.staging, quota: Quota::mib(quota_mib) }
}

/// A file of a volume that is being written. One that is dropped before it was finished leaves what a plain stream
/// wrote, and nothing of an atomic one.
#[derive(Debug)]
pub struct StreamWriter {
    files: VolumeFiles,
    opened: Arc<Opened>,
    quota_mib: Option<u32>,
    file: FileWriter,
    finished: bool,
}

impl StreamWriter {
    /// Writes all of `bytes` behind those before.
    pub fn write(&mut self, bytes: &[u8], cancel: &Cancel) -> Result<()> {
        let rules = rules(&self.opened, self.quota_mib);
        for piece in bytes.chunks(PIECE) {
            let mut write = || self.file.write(piece, &rules, cancel);
            match self.quota_mib {
                Some(_) => self.opened.in_turn(&self.files.name, &cancel.of_a_step(), write)?,
                None => write()?,
            }
        }
        Ok(())
    }

    /// Completes the file: an atomic one now takes the old one's place, a durable one is on disk thereafter.
    pub fn finish(&mut self, cancel: &Cancel) -> Result<()> {
        let rules = rules(&self.opened, self.quota_mib);
        let finish = || self.file.finish(&self.files.tree_of(&self.opened)?, &rules, cancel);
        let is_there = match self.quota_mib {
            Some(_) => {
                self.file.sync()?;
                self.opened.in_turn(&self.files.name, &cancel.of_a_step(), finish)?
            }
            None => finish()?,
        };
        if !is_there {
            return Err(Error::volume_not_found(self.files.name.as_str()));
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be deleted now is a leftover like a dead process's, which the next to open the home clears.
            let _left = self.file.discard(&rules(&self.opened, self.quota_mib));
        }
    }
}
