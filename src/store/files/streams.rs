//! Streams that read and write files of a volume.

use super::volume_fs::WriteSession;
use crate::error::{Error, Result};
use crate::model::{IntoVolumePath, VolumePath};
use crate::store::VolumeFs;
use crate::sync::CancelToken;
use crate::volume_fs::{FileReader, FileWriter, ReadRange, WriteFrom, WriteOptions, retry_past_leases};

/// Maximum number of bytes between two checks of the abort signal, and under one quota lock.
const MAX_PIECE_BYTES: usize = 4 << 20;

impl VolumeFs {
    /// Opens a regular file for a stream of reads.
    pub fn open_reader(&self, path: impl IntoVolumePath, range: ReadRange) -> Result<FileReader> {
        self.open_reader_with(path, range, &CancelToken::default())
    }

    /// Opens a regular file for a stream of reads. The wait for the holder of a lease can be cancelled.
    pub fn open_reader_with(
        &self,
        path: impl IntoVolumePath,
        range: ReadRange,
        cancel: &CancelToken,
    ) -> Result<FileReader> {
        let path = path.into_volume_path()?;
        retry_past_leases(cancel, || self.open_reader_once(&path, range))
    }

    /// Opens a regular file for a stream of reads. Fails with `EAGAIN` if a guest holds a lease on the file.
    pub fn open_reader_once(&self, path: &VolumePath, range: ReadRange) -> Result<FileReader> {
        self.open_root()?.open_reader(path, range)
    }

    /// Opens or creates a file for a stream of writes.
    pub fn open_writer(
        &self,
        path: impl IntoVolumePath,
        options: WriteOptions,
        from: WriteFrom,
        cancel: &CancelToken,
    ) -> Result<StreamWriter> {
        let path = path.into_volume_path()?;
        let prepared = self.prepare_write()?;
        retry_past_leases(cancel, || prepared.open_writer_once(&path, options, from, cancel))
    }
}

impl WriteSession {
    /// Opens or creates a file for a stream of writes. Fails with `EAGAIN` if a guest holds a lease on the file.
    pub fn open_writer_once(
        &self,
        path: &VolumePath,
        options: WriteOptions,
        from: WriteFrom,
        cancel: &CancelToken,
    ) -> Result<StreamWriter> {
        let volume_root = self.files.open_root_in(&self.handle)?;
        // A new entry needs space, so the quota lock is held.
        let open = || volume_root.open_writer(path, options, from, &self.context(cancel));
        let file = self.quota.with_lock(&cancel.of_a_step(), open)?;
        Ok(StreamWriter { volume: self.clone(), file, finished: false })
    }
}

/// A stream of writes. If it is dropped before [`finish`](StreamWriter::finish), a plain stream leaves what it wrote,
/// and an atomic one leaves nothing.
#[derive(Debug)]
pub struct StreamWriter {
    volume: WriteSession,
    file: FileWriter,
    finished: bool,
}

impl StreamWriter {
    /// Appends all of `bytes`.
    pub fn write(&mut self, bytes: &[u8], cancel: &CancelToken) -> Result<()> {
        let context = self.volume.context(cancel);
        for piece in bytes.chunks(MAX_PIECE_BYTES) {
            self.volume.quota.with_lock(&cancel.of_a_step(), || self.file.write(piece, &context))?;
        }
        Ok(())
    }

    /// Completes the file. An atomic stream replaces the old file, and a durable one is flushed to disk.
    pub fn finish(&mut self, cancel: &CancelToken) -> Result<()> {
        let WriteSession { files, handle, .. } = &self.volume;
        if self.volume.has_quota() {
            // Other writers wait for the quota lock, so the file is flushed before.
            self.file.sync()?;
        }
        let finish = || self.file.finish(&files.open_root_in(handle)?, &self.volume.context(cancel));
        if !self.volume.quota.with_lock(&cancel.of_a_step(), finish)? {
            return Err(Error::volume_not_found(files.volume.name.as_str()));
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        if !self.finished {
            // If this fails, a leftover remains, which the next opening of the home deletes.
            let _left = self.file.discard(self.volume.staging());
        }
    }
}
