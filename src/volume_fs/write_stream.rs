//! Writing a file piece by piece.

use super::atomic_write::TempFile;
use super::quota::estimate::BLOCK;
use super::quota::reserve::{Reservation, SpaceRequest};
use super::quota::usage::{allocated, growth};
use super::write::CreatedFile;
use super::{VolumePath, VolumeRoot, WriteOptions, WriteRules};
use crate::error::Result;
use crate::sync::CancelToken;
use crate::sys::{Access, FileId};
use cap_std::fs::Metadata;
use nix::errno::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;

/// Where the bytes of a stream go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WriteFrom {
    /// They are the whole content: the file is emptied when it is opened.
    #[default]
    Empty,
    /// Behind what is there, also behind what others add meanwhile.
    End,
    /// Over what is there, from this byte on. What they do not reach stays.
    Position(u64),
}

/// A file that is written piece by piece. It holds its tree's root, and so does not go with a volume's name to
/// another volume.
#[derive(Debug)]
pub struct FileWriter {
    tree: VolumeRoot,
    path: VolumePath,
    options: WriteOptions,
    output: Output,
    /// Where the next byte goes.
    at: u64,
    /// Whether that is behind what others add.
    appends: bool,
    claim: Reservation,
    /// Whether a piece may have been written in part, and so be cut off.
    is_broken: bool,
}

#[derive(Debug)]
enum Output {
    /// The file itself, and its place where it was made.
    InPlace(File, Option<CreatedFile>),
    /// A new file that takes the old one's place when it is whole, which gives so many bytes back.
    TempFile(TempFile, u64),
}

impl VolumeRoot {
    /// Opens the file at `path` for writing piece by piece, or makes it; the directory that holds it must exist.
    ///
    /// An atomic one writes a new file, which [`FileWriter::finish`] puts in place of the old one; until then, and
    /// where it is discarded instead, the old one stays as it is. It starts from nothing, wherever `from` says.
    pub fn open_writer(
        self,
        path: impl AsRef<OsStr>,
        options: WriteOptions,
        from: WriteFrom,
        rules: &WriteRules<'_>,
        cancel: &CancelToken,
    ) -> Result<FileWriter> {
        let path = VolumePath::parse(path)?;
        if options.atomic {
            let target = self.target(&path)?;
            cancel.check()?;
            let staged = TempFile::create(rules.staging, &target, options.new_file_mode())
                .map_err(|error| self.told(error, path.as_str()))?;
            let output = Output::TempFile(staged, target.given_back());
            return Ok(FileWriter {
                tree: self,
                path,
                options,
                output,
                at: 0,
                appends: false,
                claim: Reservation::default(),
                is_broken: false,
            });
        }
        let access = if from == WriteFrom::End { Access::Append } else { Access::Write };
        let mut claim = Reservation::default();
        let admit = |found: Option<&Metadata>| match found {
            Some(_) => cancel.check(),
            None => rules.quota.admit_more(&self, path.as_str(), SpaceRequest::entry(), &mut claim, cancel),
        };
        let (file, made) = self.open_or_make(&path, access, options, cancel, admit)?;
        let at = start(&file, from).map_err(|error| self.refused("open", &path, error))?;
        let (output, appends) = (Output::InPlace(file, made), from == WriteFrom::End);
        Ok(FileWriter { tree: self, path, options, output, at, appends, claim, is_broken: false })
    }

    /// Whether both are the same directory.
    fn is(&self, other: &VolumeRoot) -> io::Result<bool> {
        Ok(FileId::of_open(self.root.as_fd())? == FileId::of_open(other.root.as_fd())?)
    }
}

/// Goes to where the first byte is written, and gives that position.
fn start(mut file: &File, from: WriteFrom) -> io::Result<u64> {
    let length = file.metadata()?.len();
    match from {
        WriteFrom::Empty if length > 0 => file.set_len(0).map(|()| 0),
        WriteFrom::Empty => Ok(0),
        WriteFrom::End => Ok(length),
        WriteFrom::Position(position) => file.seek(SeekFrom::Start(position)),
    }
}

impl FileWriter {
    /// Writes all of `bytes` behind those before. Where the volume has a limit they are admitted first: those
    /// that are refused are not written, and what was written before stays. Where writing itself fails, a part may be
    /// written; the file is then neither written on nor completed.
    pub fn write(&mut self, bytes: &[u8], rules: &WriteRules<'_>, cancel: &CancelToken) -> Result<()> {
        cancel.check()?;
        self.check_whole()?;
        let end = self.at.saturating_add(bytes.len() as u64);
        if rules.quota.is_limited() {
            let demand = self.demand(end).map_err(|error| self.tree.refused("stat", &self.path, error))?;
            rules.quota.admit_more(&self.tree, self.path.as_str(), demand, &mut self.claim, cancel)?;
        }
        let mut file = match &self.output {
            Output::InPlace(file, _) => file,
            Output::TempFile(staged, _) => staged.file(),
        };
        if let Err(error) = file.write_all(bytes) {
            self.is_broken = true;
            return Err(self.tree.refused("write", &self.path, error));
        }
        self.at = end;
        Ok(())
    }

    fn check_whole(&self) -> Result<()> {
        match self.is_broken {
            true => Err(self.tree.refused("write", &self.path, Errno::EIO.into())),
            false => Ok(()),
        }
    }

    /// What writing up to `end` takes. What is staged counts as a whole, for nothing of it is in the volume yet.
    fn demand(&self, end: u64) -> io::Result<SpaceRequest> {
        match &self.output {
            Output::InPlace(file, _) => {
                // Others may have cut it off since the last piece, or made holes in it.
                let (found, length) = (Metadata::from_file(file)?, end - self.at);
                let at = if self.appends { found.len() } else { self.at };
                let growth = growth(&found, at, length);
                Ok(SpaceRequest { length, growth, goes_on: true, ..SpaceRequest::default() })
            }
            Output::TempFile(_, given_back) => {
                let so_far = self.whole(*given_back)?;
                let in_all = end.next_multiple_of(BLOCK).saturating_sub(*given_back);
                let growth = in_all.saturating_sub(so_far.ready);
                Ok(SpaceRequest { length: end, growth, goes_on: true, ..so_far })
            }
        }
    }

    /// What putting in place what is staged takes, which gives back so much.
    fn whole(&self, given_back: u64) -> io::Result<SpaceRequest> {
        let allocated = match &self.output {
            Output::InPlace(..) => self.at,
            Output::TempFile(staged, _) => allocated(&Metadata::from_file(staged.file())?),
        };
        Ok(SpaceRequest::in_place(self.at, allocated, given_back))
    }

    /// Puts what was written on disk, where finishing demands that. It can take long, and finishing is then over
    /// sooner.
    pub fn sync(&self) -> Result<()> {
        let synced = match &self.output {
            Output::InPlace(file, _) if self.options.durable => file.sync_all(),
            Output::InPlace(..) => Ok(()),
            Output::TempFile(staged, _) => staged.file().sync_all(),
        };
        synced.map_err(|error| self.tree.refused("fsync", &self.path, error))
    }

    /// Completes the file in the tree in which it was opened; false where that is no longer the volume's.
    pub fn finish(&self, now: &VolumeRoot, rules: &WriteRules<'_>, cancel: &CancelToken) -> Result<bool> {
        self.check_whole()?;
        let same = self.tree.is(now).map_err(|error| self.tree.refused("stat", &self.path, error))?;
        if !same {
            return Ok(false);
        }
        match &self.output {
            Output::InPlace(_, made) => {
                self.sync()?;
                if let Some(made) = made {
                    self.tree.sync_holder(&self.path, &made.place, self.options.durable)?;
                }
            }
            Output::TempFile(staged, given_back) => {
                let target = self.tree.target(&self.path)?;
                let replaced = target.given_back();
                // What was charged is too little where less is given back.
                let mut claim = if replaced < *given_back { Reservation::default() } else { self.claim };
                let demand = self.whole(replaced);
                let demand = demand.map_err(|error| self.tree.refused("stat", &self.path, error))?;
                rules.quota.admit_more(&self.tree, self.path.as_str(), demand, &mut claim, cancel)?;
                self.tree.publish(&self.path, staged, &target, rules.staging, cancel)?;
                self.tree.sync_holder(&self.path, &target.place, self.options.durable)?;
            }
        }
        Ok(true)
    }

    /// Deletes what is not in place. What a plain stream wrote is, and stays.
    pub fn discard(&self, rules: &WriteRules<'_>) -> Result<()> {
        match &self.output {
            Output::InPlace(..) => Ok(()),
            Output::TempFile(staged, _) => staged.discard(rules.staging),
        }
    }
}
