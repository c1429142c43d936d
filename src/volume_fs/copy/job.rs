//! One copy from its beginning to its end, or undone.

use super::dir_pair::{DirPair, busy};
use super::directory::{UNSETTLED, final_mode, has_heirs};
use super::endpoint::Endpoints;
use super::entry::{CopyTask, not_copied};
use super::file::{FilledFile, fill_file, open_found};
use super::place::{CopyDest, CopyDestPlace, CopySource};
use super::policy::CopyPolicy;
use super::progress::Progress;
use super::undo::Top;
use super::walk::Walk;
use super::worker_pool::with_workers;
use crate::error::{Error, Result};
use crate::sys::{
    EntryKind, FileId, FileStat, TransferBuffer, create_directory, is_within, open_subdirectory, our_ids,
    readable_directory, remove_directory,
};
use crate::volume_fs::new_file::CopyRecord;
use crate::volume_fs::walk::cursor::TreePath;
use crate::volume_fs::{Reservation, SpaceRequest};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// What all who work on one copy share.
#[derive(Debug)]
pub(super) struct CopyContext {
    pub sides: Endpoints,
    pub rules: CopyPolicy,
    pub progress: Arc<Progress>,
    /// Whether files may share content, as far as was seen.
    pub may_clone: AtomicBool,
    /// The directory that a tree is copied to.
    pub top: FileId,
    /// This process's user and group.
    pub ours: (u32, u32),
    /// What was made below the top, if the copy made the top too, and so is undone if it fails.
    pub record: Option<CopyRecord>,
    /// The path of the top's directory from the top.
    no_prefix: Arc<TreePath>,
}

impl CopyContext {
    /// Where the top of the copy goes, if that is a file.
    fn top_errand<'e>(&'e self, holder: &'e OwnedFd, name: &'e OsStr) -> CopyTask<'e> {
        CopyTask { context: self, to: holder.as_fd(), name, prefix: &self.no_prefix, below: OsStr::new("") }
    }

    pub fn copied_into_itself(&self) -> Error {
        self.sides.to.refused_because(Path::new(""), Errno::EINVAL, "a directory is not copied into itself")
    }

    /// Makes a directory of the copy, of which `path` is the path from the top, once there is room for it; false where
    /// something of that name is there. It has `mode`, less the umask, until it is settled.
    pub fn make_directory(
        &self,
        holder: BorrowedFd<'_>,
        name: &OsStr,
        mode: u32,
        path: impl Fn() -> PathBuf,
    ) -> Result<bool> {
        let shown = || self.sides.to.path_of(&path()).to_string_lossy().into_owned();
        let mut is_new = true;
        self.rules.admit(shown, SpaceRequest::directory(), &mut Reservation::default(), &mut || {
            match create_directory(holder, name, mode) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    is_new = false;
                    Ok(())
                }
                made => made.map_err(|error| self.sides.to.refused("mkdir", &path(), error)),
            }
        })?;
        if is_new && let Some(record) = &self.record {
            record.add_entry(holder, name, EntryKind::Directory);
        }
        Ok(is_new)
    }
}

/// An entry that is asked for before it is copied.
#[derive(Clone, Debug)]
pub struct FilterRequest {
    /// Its path from the top.
    pub path: PathBuf,
    /// What it is.
    pub kind: EntryKind,
}

/// A copy. Where its destination was not there before, it is all there in the end, or nothing of it is. One that is
/// dropped before it was committed is undone.
#[derive(Debug)]
pub struct CopyJob {
    context: CopyContext,
    stage: JobStage,
}

#[derive(Debug)]
enum JobStage {
    Ready {
        source: OwnedFd,
        kind: EntryKind,
        place: CopyDestPlace,
    },
    Walking {
        walk: Box<Walk>,
        made: Option<Top>,
    },
    /// A tree is copied; `made` is its top.
    Walked {
        made: Option<Top>,
    },
    /// A single file is copied.
    Filled {
        holder: OwnedFd,
        name: OsString,
        file: FilledFile,
    },
    Over,
}

impl CopyJob {
    /// A copy that has not begun.
    pub fn new(source: CopySource, target: CopyDest, rules: CopyPolicy, progress: Arc<Progress>) -> Self {
        let context = CopyContext {
            sides: Endpoints { from: source.side, to: target.side },
            rules,
            progress,
            may_clone: AtomicBool::new(true),
            // Until there is one, what it must not be.
            top: source.facts.id(),
            ours: our_ids(),
            record: None,
            no_prefix: Arc::default(),
        };
        CopyJob {
            context,
            stage: JobStage::Ready { source: source.fd, kind: source.facts.kind(), place: target.place },
        }
    }

    /// Copies on, up to the commit point (`None`) or to what has to be asked for; `verdicts` answer, in order, what was
    /// asked last. An error undoes the copy.
    pub fn advance(&mut self, verdicts: &[bool]) -> Result<Option<Vec<FilterRequest>>> {
        let result = self.begin().and_then(|()| self.walk_on(verdicts));
        let result = result.map_err(|error| self.context.rules.told(error));
        if result.is_err() {
            self.undo();
        }
        result
    }

    /// Passes the commit point of a copy that came to it. An error undoes the copy.
    pub fn commit(mut self) -> Result<()> {
        let result = match std::mem::replace(&mut self.stage, JobStage::Over) {
            JobStage::Filled { holder, name, file } => file.publish(&self.context.top_errand(&holder, &name)),
            stage => {
                self.stage = stage;
                self.context.rules.cancel.commit()
            }
        };
        if result.is_ok() {
            self.stage = JobStage::Over;
        }
        result.map_err(|error| self.context.rules.told(error))
    }

    fn undo(&mut self) {
        match std::mem::replace(&mut self.stage, JobStage::Over) {
            JobStage::Walking { made: Some(made), .. } | JobStage::Walked { made: Some(made) } => {
                self.context.record.iter().for_each(|record| made.undo(record));
            }
            JobStage::Filled { holder, name, file } => file.undo(&self.context.top_errand(&holder, &name)),
            _ => {}
        }
    }

    fn begin(&mut self) -> Result<()> {
        self.context.rules.go_on()?;
        let JobStage::Ready { .. } = self.stage else { return Ok(()) };
        let JobStage::Ready { source, kind, place } = std::mem::replace(&mut self.stage, JobStage::Over)
        else {
            return Ok(());
        };
        match (kind, place) {
            (EntryKind::Directory, place) => self.begin_walk(source, place),
            (kind, CopyDestPlace::Entry { holder, name }) => {
                let file = self.fill_single(&source, kind, &holder, &name)?;
                self.stage = JobStage::Filled { holder, name, file };
                Ok(())
            }
            (_, CopyDestPlace::Directory(_)) => Err(self.context.sides.to.refused_because(
                Path::new(""),
                Errno::EISDIR,
                "a directory is not replaced by what is none",
            )),
        }
    }

    fn fill_single(
        &self,
        source: &OwnedFd,
        kind: EntryKind,
        holder: &OwnedFd,
        name: &OsStr,
    ) -> Result<FilledFile> {
        let context = &self.context;
        let errand = context.top_errand(holder, name);
        if kind != EntryKind::File {
            return Err(not_copied(&errand));
        }
        let facts = FileStat::of(source.as_fd())
            .map_err(|error| context.sides.from.refused("stat", Path::new(""), error))?;
        let file = open_found(&errand, source.as_fd())?;
        fill_file(&errand, &mut TransferBuffer::default(), file, &facts)
    }

    fn begin_walk(&mut self, source: OwnedFd, place: CopyDestPlace) -> Result<()> {
        let context = &mut self.context;
        let top = Path::new("");
        let from = readable_directory(source.as_fd())
            .map_err(|error| context.sides.from.refused("scandir", top, error))?;
        let sides = &context.sides;
        let refused = |syscall, error: io::Error| sides.to.refused(syscall, top, error);
        let outer = match &place {
            CopyDestPlace::Directory(dir) => dir,
            CopyDestPlace::Entry { holder, .. } => holder,
        };
        if is_within(outer.as_fd(), context.top).map_err(|error| refused("stat", error))? {
            return Err(context.copied_into_itself());
        }
        let (to, made) = match place {
            CopyDestPlace::Directory(dir) => (dir, None),
            CopyDestPlace::Entry { holder, name } => {
                let mode = has_heirs(holder.as_fd()).and_then(|has_heirs| match has_heirs {
                    true => final_mode(context, from.as_fd()),
                    false => Ok(UNSETTLED),
                });
                let mode = sides.named("listxattr", PathBuf::new, mode)?;
                let is_new = context.make_directory(holder.as_fd(), &name, mode, PathBuf::new)?;
                let opened = open_subdirectory(holder.as_fd(), Path::new(&name))
                    .and_then(|dir| Ok((FileId::of_open(dir.as_fd())?, dir)));
                if opened.is_err() && is_new {
                    // The error says more than one of cleaning up.
                    let _removed = remove_directory(holder.as_fd(), &name);
                }
                let (id, dir) = opened.map_err(|error| refused("open", busy(error)))?;
                (dir, is_new.then_some(Top { holder, name, id }))
            }
        };
        context.top = FileId::of_open(to.as_fd()).map_err(|error| refused("stat", error))?;
        context.record = made.as_ref().map(|_| CopyRecord::new());
        let walk = Box::new(Walk::new(DirPair { from, to }, made.is_some()));
        self.stage = JobStage::Walking { walk, made };
        Ok(())
    }

    fn walk_on(&mut self, verdicts: &[bool]) -> Result<Option<Vec<FilterRequest>>> {
        let JobStage::Walking { walk, .. } = &mut self.stage else { return Ok(None) };
        let context = &self.context;
        let questions = with_workers(context, |crew| walk.go(context, crew, verdicts))?;
        if questions.is_none()
            && let JobStage::Walking { made, .. } = std::mem::replace(&mut self.stage, JobStage::Over)
        {
            self.stage = JobStage::Walked { made };
        }
        Ok(questions)
    }
}

impl Drop for CopyJob {
    fn drop(&mut self) {
        self.undo();
    }
}
