//! Files of a volume that are read and written piece by piece.

use super::volume_fs::WriteSession;
use crate::error::{Error, Result};
use crate::store::VolumeFs;
use crate::sync::CancelToken;
use crate::volume_fs::{FileReader, FileWriter, ReadRange, WriteFrom, WriteOptions, past_leases};
use std::ffi::OsStr;

/// How much is written between two looks at the abort signal, and in one turn where writers take turns.
const PIECE: usize = 4 << 20;

impl VolumeFs {
    /// Opens a regular file for reading piece by piece.
    pub fn open_reader(&self, path: impl AsRef<OsStr>, range: ReadRange) -> Result<FileReader> {
        self.open_reader_with(path, range, &CancelToken::default())
    }

    /// The same, so that waiting for the holder of a lease can be cancelled.
    pub fn open_reader_with(
        &self,
        path: impl AsRef<OsStr>,
        range: ReadRange,
        cancel: &CancelToken,
    ) -> Result<FileReader> {
        past_leases(cancel, || self.open_reader_once(&path, range))
    }

    /// The same, but fails with `EAGAIN` if a guest holds a lease on the file.
    pub fn open_reader_once(&self, path: impl AsRef<OsStr>, range: ReadRange) -> Result<FileReader> {
        self.tree()?.open_reader(path, range)
    }

    /// Opens or makes a file for writing piece by piece.
    pub fn open_writer(
        &self,
        path: impl AsRef<OsStr>,
        options: WriteOptions,
        from: WriteFrom,
        cancel: &CancelToken,
    ) -> Result<StreamWriter> {
        let prepared = self.prepare_write()?;
        past_leases(cancel, || prepared.open_writer_once(&path, options, from, cancel))
    }
}

impl WriteSession {
    /// Opens or makes a file for writing piece by piece. Fails with `EAGAIN` if a guest holds a lease on the file.
    pub fn open_writer_once(
        &self,
        path: impl AsRef<OsStr>,
        options: WriteOptions,
        from: WriteFrom,
        cancel: &CancelToken,
    ) -> Result<StreamWriter> {
        let tree = self.files.tree_of(&self.opened)?;
        // It may make an entry, which takes room.
        let open = || tree.open_writer(path, options, from, &self.rules(), cancel);
        let file = self.in_turn(&cancel.of_a_step(), open)?;
        Ok(StreamWriter { volume: self.clone(), file, finished: false })
    }
}

/// A file of a volume that is being written. One that is dropped before it was finished leaves what a plain stream
/// wrote, and nothing of an atomic one.
#[derive(Debug)]
pub struct StreamWriter {
    volume: WriteSession,
    file: FileWriter,
    finished: bool,
}

impl StreamWriter {
    /// Writes all of `bytes` behind those before.
    pub fn write(&mut self, bytes: &[u8], cancel: &CancelToken) -> Result<()> {
        let rules = self.volume.rules();
        for piece in bytes.chunks(PIECE) {
            self.volume.in_turn(&cancel.of_a_step(), || self.file.write(piece, &rules, cancel))?;
        }
        Ok(())
    }

    /// Completes the file: an atomic one now takes the old one's place, a durable one is on disk thereafter.
    pub fn finish(&mut self, cancel: &CancelToken) -> Result<()> {
        let WriteSession { files, opened, .. } = &self.volume;
        if self.volume.has_quota() {
            // Before its turn, which others wait for.
            self.file.sync()?;
        }
        let finish = || self.file.finish(&files.tree_of(opened)?, &self.volume.rules(), cancel);
        if !self.volume.in_turn(&cancel.of_a_step(), finish)? {
            return Err(Error::volume_not_found(files.volume.name.as_str()));
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be deleted now is a leftover like a dead process's, which the next to open the home clears.
            let _left = self.file.discard(&self.volume.rules());
        }
    }
}
