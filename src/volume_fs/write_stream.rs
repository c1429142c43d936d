//! Writes a file one chunk at a time.

use super::atomic_write::TempFile;
use super::quota::estimate::BLOCK;
use super::quota::reserve::{QuotaWrite, Reservation, SpaceRequest};
use super::quota::usage::{allocated, growth};
use super::write::{CreatedFile, InPlaceWrite};
use super::{VolumePath, VolumeRoot, WriteContext, WriteOptions};
use crate::error::{Errno, Result};
use crate::sys::fd::AsFd;
use crate::sys::{Access, Dir as StoreDir, FileId};
use cap_std::fs::Metadata;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

/// Where the bytes of a stream go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteFrom {
    /// The bytes are the whole content: the file is truncated when it is opened.
    #[default]
    Empty,
    /// Appends, also after what other processes append at the same time.
    End,
    /// Overwrites from this offset on. Keeps the bytes that the stream does not reach.
    Position(u64),
}

/// A file that is written in chunks. It holds its volume's root, so it does not follow a volume's name to another
/// volume.
#[derive(Debug)]
pub struct FileWriter {
    tree: VolumeRoot,
    path: VolumePath,
    options: WriteOptions,
    output: Output,
    /// The offset of the next byte.
    position: u64,
    /// Whether each chunk goes after what other processes append.
    appends: bool,
    reservation: Reservation,
    /// Whether a chunk may have been written in part.
    is_broken: bool,
}

#[derive(Debug)]
enum Output {
    /// The file itself, and its entry if this stream created it.
    InPlace(File, Option<CreatedFile>),
    /// A new file that replaces the old one when it is complete, and how many bytes that frees.
    TempFile(TempFile, u64),
}

impl VolumeRoot {
    /// Opens the file at `path` for writing in chunks, or creates it. The parent directory must exist.
    ///
    /// An atomic stream writes a new file, which [`FileWriter::finish`] publishes in place of the old one. Until then,
    /// and if it is discarded, the old file stays as it is. It starts empty, whatever `from` says.
    pub fn open_writer(
        self,
        path: &VolumePath,
        options: WriteOptions,
        from: WriteFrom,
        context: &WriteContext<'_>,
    ) -> Result<FileWriter> {
        let WriteContext { staging, quota, cancel } = context;
        if options.atomic {
            let target = self.publish_target(path)?;
            cancel.check()?;
            let temp_file = TempFile::create(staging, &target, options.new_file_mode())
                .map_err(|error| self.map_error(error, path.as_str()))?;
            let output = Output::TempFile(temp_file, target.freed());
            return Ok(FileWriter {
                tree: self,
                path: path.clone(),
                options,
                output,
                position: 0,
                appends: false,
                reservation: Reservation::default(),
                is_broken: false,
            });
        }
        let access = if from == WriteFrom::End { Access::Append } else { Access::Write };
        let mut reservation = Reservation::default();
        let reserve = |found: Option<&Metadata>| match found {
            Some(_) => cancel.check(),
            None => {
                let request = SpaceRequest::entry();
                let write = QuotaWrite { tree: &self, path: path.as_str(), request, cancel };
                quota.reserve_more(&write, &mut reservation)
            }
        };
        let (file, created) =
            self.open_or_create(path, &InPlaceWrite { access, options, cancel }, reserve)?;
        let position = seek_to_start(&file, from).map_err(|error| self.io_error("open", path, error))?;
        let (output, appends) = (Output::InPlace(file, created), from == WriteFrom::End);
        let path = path.clone();
        Ok(FileWriter { tree: self, path, options, output, position, appends, reservation, is_broken: false })
    }

    /// Returns whether both are the same directory.
    fn is_same_dir(&self, other: &VolumeRoot) -> io::Result<bool> {
        Ok(FileId::of_open(self.root.as_fd())? == FileId::of_open(other.root.as_fd())?)
    }
}

/// Seeks to the offset of the first byte, and returns it.
fn seek_to_start(mut file: &File, from: WriteFrom) -> io::Result<u64> {
    let length = file.metadata()?.len();
    match from {
        WriteFrom::Empty if length > 0 => file.set_len(0).map(|()| 0),
        WriteFrom::Empty => Ok(0),
        WriteFrom::End => Ok(length),
        WriteFrom::Position(position) => file.seek(SeekFrom::Start(position)),
    }
}

impl FileWriter {
    /// Appends `bytes` to those written before. Reserves space first if the volume has a quota. A chunk that is refused
    /// is not written, and earlier chunks stay. If writing fails, a part of `bytes` may be written, and the stream can
    /// neither continue nor finish.
    pub fn write(&mut self, bytes: &[u8], context: &WriteContext<'_>) -> Result<()> {
        let WriteContext { quota, cancel, .. } = context;
        cancel.check()?;
        self.check_whole()?;
        let end = self.position.saturating_add(bytes.len() as u64);
        if quota.is_limited() {
            let request = self.request(end).map_err(|error| self.tree.io_error("stat", &self.path, error))?;
            let write = QuotaWrite { tree: &self.tree, path: self.path.as_str(), request, cancel };
            quota.reserve_more(&write, &mut self.reservation)?;
        }
        let mut file = match &self.output {
            Output::InPlace(file, _) => file,
            Output::TempFile(temp_file, _) => temp_file.file(),
        };
        if let Err(error) = file.write_all(bytes) {
            self.is_broken = true;
            return Err(self.tree.io_error("write", &self.path, error));
        }
        self.position = end;
        Ok(())
    }

    fn check_whole(&self) -> Result<()> {
        match self.is_broken {
            true => Err(self.tree.io_error("write", &self.path, Errno::EIO.into())),
            false => Ok(()),
        }
    }

    /// Returns what writing up to `end` takes. A temp file counts as a whole, because none of it is in the volume yet.
    fn request(&self, end: u64) -> io::Result<SpaceRequest> {
        match &self.output {
            Output::InPlace(file, _) => {
                // Other processes may have truncated the file since the last chunk, or punched holes in it.
                let (found, length) = (Metadata::from_file(file)?, end - self.position);
                let offset = if self.appends { found.len() } else { self.position };
                let growth = growth(&found, offset, length);
                Ok(SpaceRequest { length, growth, is_continued: true, ..SpaceRequest::default() })
            }
            Output::TempFile(_, freed) => {
                let so_far = self.publish_request(*freed)?;
                let in_all = end.next_multiple_of(BLOCK).saturating_sub(*freed);
                let growth = in_all.saturating_sub(so_far.staged);
                Ok(SpaceRequest { length: end, growth, is_continued: true, ..so_far })
            }
        }
    }

    /// Returns what publishing the temp file takes, which frees `freed` bytes.
    fn publish_request(&self, freed: u64) -> io::Result<SpaceRequest> {
        let allocated = match &self.output {
            Output::InPlace(..) => self.position,
            Output::TempFile(temp_file, _) => allocated(&Metadata::from_file(temp_file.file())?),
        };
        Ok(SpaceRequest::in_place(self.position, allocated, freed))
    }

    /// Syncs what was written, if finishing demands that. This can take long, and makes finishing short.
    pub fn sync(&self) -> Result<()> {
        let synced = match &self.output {
            Output::InPlace(file, _) if self.options.durable => file.sync_all(),
            Output::InPlace(..) => Ok(()),
            Output::TempFile(temp_file, _) => temp_file.file().sync_all(),
        };
        synced.map_err(|error| self.tree.io_error("fsync", &self.path, error))
    }

    /// Completes the file in the tree in which it was opened. Returns `false` if that is no longer the volume's.
    pub fn finish(&self, now: &VolumeRoot, context: &WriteContext<'_>) -> Result<bool> {
        self.check_whole()?;
        let same =
            self.tree.is_same_dir(now).map_err(|error| self.tree.io_error("stat", &self.path, error))?;
        if !same {
            return Ok(false);
        }
        match &self.output {
            Output::InPlace(_, created) => {
                self.sync()?;
                if let Some(created) = created {
                    self.tree.sync_parents(&self.path, &created.entry, self.options.durable)?;
                }
            }
            Output::TempFile(temp_file, freed) => {
                let target = self.tree.publish_target(&self.path)?;
                let replaced = target.freed();
                // What was charged does not suffice if less is freed than expected.
                let mut reservation =
                    if replaced < *freed { Reservation::default() } else { self.reservation };
                let request = self.publish_request(replaced);
                let request = request.map_err(|error| self.tree.io_error("stat", &self.path, error))?;
                let (path, cancel) = (self.path.as_str(), context.cancel);
                let write = QuotaWrite { tree: &self.tree, path, request, cancel };
                context.quota.reserve_more(&write, &mut reservation)?;
                self.tree.publish(&self.path, temp_file, &target, context)?;
                self.tree.sync_parents(&self.path, &target.entry, self.options.durable)?;
            }
        }
        Ok(true)
    }

    /// Deletes a temp file. What a plain stream wrote stays.
    pub fn discard(&self, staging: &StoreDir) -> Result<()> {
        match &self.output {
            Output::InPlace(..) => Ok(()),
            Output::TempFile(temp_file, _) => temp_file.discard(staging),
        }
    }
}
