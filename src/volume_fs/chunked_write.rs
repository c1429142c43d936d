//! Writes whole files whose content comes in chunks.

use super::atomic_write::{PublishTarget, TempFile};
use super::quota::reserve::{QuotaWrite, SpaceRequest};
use super::quota::usage::allocated;
use super::write::{CreatedFile, InPlaceWrite, has_no_name};
use super::{VolumePath, VolumeRoot, WriteContext, WriteOptions};
use crate::error::Result;
use crate::sync::CancelToken;
use crate::sys::fd::AsFd;
use crate::sys::{Access, Dir as StoreDir, FileId};
use cap_std::fs::Metadata;
use std::fs::File;
use std::io::{self, Write};

/// A write of a whole file in progress. The caller discards a write that it does not finish.
#[derive(Debug)]
pub struct ChunkedWrite {
    tree: VolumeRoot,
    path: VolumePath,
    options: WriteOptions,
    length: u64,
    output: WriteOutput,
    /// Whether a cancellation comes too late.
    is_committed: bool,
    /// Whether the new content is in place, so that there is nothing to discard.
    is_in_place: bool,
}

#[derive(Debug)]
enum WriteOutput {
    /// The file itself, and its entry if this write created it.
    Existing(File, Option<CreatedFile>),
    /// A new file that replaces the old one at the end.
    Replacement(TempFile, Box<PublishTarget>),
}

impl VolumeRoot {
    /// Begins a write of `length` bytes to the file at `path`: see [`VolumeRoot::write`]. A plain write opens or
    /// creates the file, and changes no content before the first chunk.
    pub fn begin_write(
        &self,
        path: &VolumePath,
        length: u64,
        options: WriteOptions,
        context: &WriteContext<'_>,
    ) -> Result<ChunkedWrite> {
        let output = self.output(path, length, options, context)?;
        let (tree, path) = (self.clone(), path.clone());
        Ok(ChunkedWrite { tree, path, options, length, output, is_committed: false, is_in_place: false })
    }

    fn output(
        &self,
        path: &VolumePath,
        length: u64,
        options: WriteOptions,
        WriteContext { staging, quota, cancel }: &WriteContext<'_>,
    ) -> Result<WriteOutput> {
        let reserve = |freed: u64| {
            let request = SpaceRequest::whole(length, freed);
            quota.reserve(&QuotaWrite { tree: self, path: path.as_str(), request, cancel })
        };
        Ok(match options.atomic {
            true => {
                let target = self.publish_target(path)?;
                reserve(target.freed())?;
                let temp_file = TempFile::create(staging, &target, options.new_file_mode())
                    .map_err(|error| self.map_error(error, path.as_str()))?;
                WriteOutput::Replacement(temp_file, Box::new(target))
            }
            false => {
                let how = InPlaceWrite { access: Access::Write, options, cancel };
                let reserve = |found: Option<&Metadata>| reserve(found.map_or(0, allocated));
                let (file, created) = self.open_or_create(path, &how, reserve)?;
                WriteOutput::Existing(file, created)
            }
        })
    }
}

impl ChunkedWrite {
    /// Returns the file that is written in place; `None` for a replacement, which no other write can open.
    pub fn target_id(&self) -> Result<Option<FileId>> {
        match &self.output {
            WriteOutput::Existing(file, _) => {
                let id = FileId::of_open(file.as_fd());
                id.map(Some).map_err(|error| self.tree.io_error("stat", &self.path, error))
            }
            WriteOutput::Replacement(..) => Ok(None),
        }
    }

    /// Records that another write had its turn at the file and may have written to it.
    pub fn share(&self) {
        if let WriteOutput::Existing(_, Some(created)) = &self.output {
            created.file.share();
        }
    }

    /// Opens or creates the file at the path again if the open file has no name left. Returns whether that is another
    /// file now. Must be called before the first chunk.
    pub fn reopen_if_removed(&mut self, context: &WriteContext<'_>) -> Result<bool> {
        let WriteOutput::Existing(file, _) = &self.output else { return Ok(false) };
        if !has_no_name(file).map_err(|error| self.tree.io_error("stat", &self.path, error))? {
            return Ok(false);
        }
        let before = self.target_id()?;
        let again = self.tree.output(&self.path, self.length, self.options, context)?;
        self.output = again;
        Ok(self.target_id()? != before)
    }

    /// Writes the next chunk. The first chunk is the commit point of a plain write.
    pub fn write(&mut self, chunk: &[u8], cancel: &CancelToken) -> Result<()> {
        self.commit_plain(cancel)?;
        let mut file = match &self.output {
            WriteOutput::Existing(file, _) => file,
            WriteOutput::Replacement(temp_file, _) => {
                cancel.check()?;
                temp_file.file()
            }
        };
        file.write_all(chunk).map_err(|error| self.tree.io_error("write", &self.path, error))
    }

    fn commit_plain(&mut self, cancel: &CancelToken) -> Result<()> {
        if !self.is_committed && matches!(self.output, WriteOutput::Existing(..)) {
            cancel.commit()?;
            self.is_committed = true;
        }
        Ok(())
    }

    /// Completes the file after its last chunk. This is the commit point of an atomic write.
    pub fn finish(&mut self, context: &WriteContext<'_>) -> Result<()> {
        self.commit_plain(context.cancel)?;
        let ChunkedWrite { tree, path, options, length, is_in_place, .. } = self;
        let new_entry = match &self.output {
            WriteOutput::Existing(file, created) => {
                let finished = cut_off(file, *length)
                    .and_then(|()| if options.durable { file.sync_all() } else { Ok(()) });
                finished.map_err(|error| tree.io_error("write", path, error))?;
                created.as_ref().map(|created| &created.entry)
            }
            WriteOutput::Replacement(temp_file, target) => {
                let put = tree.publish(path, temp_file, target, context);
                put.map_err(|error| error.in_volume(tree.volume.as_str()))?;
                Some(&target.entry)
            }
        };
        *is_in_place = true;
        new_entry.map_or(Ok(()), |entry| tree.sync_parents(path, entry, options.durable))
    }

    /// Undoes a write that was not finished: removes the file that it created, unless another write opened that file
    /// too. A plain write does not restore the content of an existing file.
    pub fn discard(&self, staging: &StoreDir) {
        // Crash safety: a file that cannot be removed from staging is a leftover, which the next opener of the home
        // removes.
        let _removed = match &self.output {
            _ if self.is_in_place => Ok(()),
            WriteOutput::Existing(_, None) => Ok(()),
            WriteOutput::Existing(_, Some(created)) => {
                created.remove();
                Ok(())
            }
            WriteOutput::Replacement(temp_file, _) => temp_file.discard(staging),
        };
    }
}

/// Truncates the old content that lies beyond `length`. Truncating a non-empty file before it is written makes some
/// file systems flush it.
fn cut_off(file: &File, length: u64) -> io::Result<()> {
    match file.metadata()?.len() > length {
        true => file.set_len(length),
        false => Ok(()),
    }
}
