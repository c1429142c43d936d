//! Writing whole files whose content comes in chunks.

use super::atomic_write::{PublishTarget, TempFile};
use super::quota::usage::allocated;
use super::write::{CreatedFile, has_no_name};
use super::{VolumePath, VolumeRoot, WriteOptions, WriteRules};
use crate::error::Result;
use crate::sync::CancelToken;
use crate::sys::{Access, FileId};
use cap_std::fs::Metadata;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A write of a whole file in progress. The caller discards one that it does not finish.
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
    /// The file itself, and its place if it was created.
    Existing(File, Option<CreatedFile>),
    /// A new file that takes the place of the old one at the end.
    Replacement(TempFile, Box<PublishTarget>),
}

impl VolumeRoot {
    /// Begins a write of `length` bytes to the file at `path`: see [`VolumeRoot::write`]. A plain write opens or creates the
    /// file, and changes no content before the first chunk.
    pub fn begin_write(
        &self,
        path: impl AsRef<OsStr>,
        length: u64,
        options: WriteOptions,
        rules: &WriteRules<'_>,
        cancel: &CancelToken,
    ) -> Result<ChunkedWrite> {
        let path = VolumePath::parse(path)?;
        let output = self.output(&path, length, options, rules, cancel)?;
        let tree = self.clone();
        Ok(ChunkedWrite { tree, path, options, length, output, is_committed: false, is_in_place: false })
    }

    fn output(
        &self,
        path: &VolumePath,
        length: u64,
        options: WriteOptions,
        rules: &WriteRules<'_>,
        cancel: &CancelToken,
    ) -> Result<WriteOutput> {
        let admit = |given_back: u64| rules.quota.admit(self, path.as_str(), length, given_back, cancel);
        Ok(match options.atomic {
            true => {
                let target = self.target(path)?;
                admit(target.given_back())?;
                let staged = TempFile::create(rules.staging, &target, options.new_file_mode())
                    .map_err(|error| self.told(error, path.as_str()))?;
                WriteOutput::Replacement(staged, Box::new(target))
            }
            false => {
                let admit = |found: Option<&Metadata>| admit(found.map_or(0, allocated));
                let (file, made) = self.open_or_make(path, Access::Write, options, cancel, admit)?;
                WriteOutput::Existing(file, made)
            }
        })
    }
}

impl ChunkedWrite {
    /// The file that is written in place; `None` for a replacement, of which no other write knows.
    pub fn target_id(&self) -> Result<Option<FileId>> {
        match &self.output {
            WriteOutput::Existing(file, _) => {
                let id = FileId::of_open(file.as_fd());
                id.map(Some).map_err(|error| self.tree.refused("stat", &self.path, error))
            }
            WriteOutput::Replacement(..) => Ok(None),
        }
    }

    /// Says that another write had its turn at the file, which may have written it.
    pub fn share(&self) {
        if let WriteOutput::Existing(_, Some(made)) = &self.output {
            made.file.share();
        }
    }

    /// Before the first chunk: opens or creates the file at the path anew where no entry leads to the opened one any more,
    /// and tells whether that is another one now.
    pub fn begin_again_if_removed(&mut self, rules: &WriteRules<'_>, cancel: &CancelToken) -> Result<bool> {
        let WriteOutput::Existing(file, _) = &self.output else { return Ok(false) };
        if !has_no_name(file).map_err(|error| self.tree.refused("stat", &self.path, error))? {
            return Ok(false);
        }
        let before = self.target_id()?;
        let again = self.tree.output(&self.path, self.length, self.options, rules, cancel)?;
        self.output = again;
        Ok(self.target_id()? != before)
    }

    /// Writes the next chunk. The first one is the commit point of a plain write.
    pub fn write(&mut self, chunk: &[u8], cancel: &CancelToken) -> Result<()> {
        self.commit_plain(cancel)?;
        let mut file = match &self.output {
            WriteOutput::Existing(file, _) => file,
            WriteOutput::Replacement(staged, _) => {
                cancel.check()?;
                staged.file()
            }
        };
        file.write_all(chunk).map_err(|error| self.tree.refused("write", &self.path, error))
    }

    fn commit_plain(&mut self, cancel: &CancelToken) -> Result<()> {
        if !self.is_committed && matches!(self.output, WriteOutput::Existing(..)) {
            cancel.commit()?;
            self.is_committed = true;
        }
        Ok(())
    }

    /// Completes the file after its last chunk. It is the commit point of an atomic write.
    pub fn finish(&mut self, rules: &WriteRules<'_>, cancel: &CancelToken) -> Result<()> {
        self.commit_plain(cancel)?;
        let ChunkedWrite { tree, path, options, length, is_in_place, .. } = self;
        let new_entry = match &self.output {
            WriteOutput::Existing(file, made) => {
                let finished = cut_off(file, *length)
                    .and_then(|()| if options.durable { file.sync_all() } else { Ok(()) });
                finished.map_err(|error| tree.refused("write", path, error))?;
                made.as_ref().map(|made| &made.place)
            }
            WriteOutput::Replacement(staged, target) => {
                let put = tree.publish(path, staged, target, rules.staging, cancel);
                put.map_err(|error| error.in_volume(tree.volume.as_str()))?;
                Some(&target.place)
            }
        };
        *is_in_place = true;
        new_entry.map_or(Ok(()), |place| tree.sync_holder(path, place, options.durable))
    }

    /// Undoes a write that was not finished: removes the file that it created, unless
    /// another write opened that too. A plain write leaves in an existing file
    /// what it wrote.
    pub fn discard(&self, rules: &WriteRules<'_>) {
        // What cannot be removed from staging is a leftover like a dead process's, which the next opener removes.
        let _removed = match &self.output {
            _ if self.is_in_place => Ok(()),
            WriteOutput::Existing(_, None) => Ok(()),
            WriteOutput::Existing(_, Some(made)) => {
                made.remove();
                Ok(())
            }
            WriteOutput::Replacement(staged, _) => staged.discard(rules.staging),
        };
    }
}

/// Cuts off what the old content was longer: truncating a non-empty file before it is written makes some file systems
/// flush it.
fn cut_off(file: &File, length: u64) -> io::Result<()> {
    match file.metadata()?.len() > length {
        true => file.set_len(length),
        false => Ok(()),
    }
}
