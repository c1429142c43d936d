//! Runs one copy from its beginning to its commit, or undoes it.

use super::dir_pair::{DirPair, busy};
use super::directory::{INITIAL_DIR_MODE, final_mode, has_inheritance};
use super::endpoint::Endpoints;
use super::entry::{CopyTask, not_copied};
use super::file::{FilledFile, fill_file, open_found};
use super::place::{CopyDest, CopyDestPlace, CopySource};
use super::policy::CopyPolicy;
use super::progress::Progress;
use super::undo::CreatedTop;
use super::walk::Walk;
use super::worker_pool::with_workers;
use crate::error::{Errno, Error, Result};
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::{
    EntryKind, FileId, FileStat, TransferBuffer, create_directory, effective_ids, is_within,
    open_subdirectory, readable_directory, remove_directory, stat_at,
};
use crate::volume_fs::new_file::{CopyRecord, Creation, mark_shared};
use crate::volume_fs::quota::reserve::{Reservation, SpaceRequest};
use crate::volume_fs::walk::cursor::TreePath;
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// The state that all threads of one copy share.
#[derive(Debug)]
pub(super) struct CopyContext {
    pub endpoints: Endpoints,
    pub policy: CopyPolicy,
    pub progress: Arc<Progress>,
    /// Whether files may share content, as far as known.
    pub may_clone: AtomicBool,
    /// The directory that a tree is copied to.
    pub top: FileId,
    /// This process's user and group.
    pub own_ids: (u32, u32),
    /// The entries that were created, with the top. `None` if the copy did not create the top, and so is not undone if it fails.
    pub record: Option<CopyRecord>,
    /// The path of the top itself.
    top_path: Arc<TreePath>,
}

impl CopyContext {
    /// Returns the task for the top of the copy, if that is a file.
    fn top_task<'e>(&'e self, parent: &'e OwnedFd, name: &'e OsStr) -> CopyTask<'e> {
        CopyTask { context: self, to: parent.as_fd(), name, dir_path: &self.top_path, below: OsStr::new("") }
    }

    pub fn copied_into_itself(&self) -> Error {
        self.endpoints.to.io_error_because(
            Path::new(""),
            Errno::EINVAL,
            "a directory is not copied into itself",
        )
    }

    /// Creates a directory of the copy once there is room for it. `path` returns its path from the top. Returns `false`
    /// if an entry with that name exists. The directory has `mode`, less the umask, until its attributes are applied.
    pub fn create_directory(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        mode: u32,
        path: impl Fn() -> PathBuf,
    ) -> Result<bool> {
        let shown = || self.endpoints.to.path_of(&path()).to_string_lossy().into_owned();
        let mut created = None;
        self.policy.reserve(shown, SpaceRequest::directory(), &mut Reservation::default(), &mut || {
            let creation = Creation::begin();
            match create_directory(parent, name, mode) {
                Ok(()) => created = Some(creation),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(self.endpoints.to.io_error("mkdir", &path(), error)),
            }
            Ok(())
        })?;
        match (&self.record, &created) {
            (Some(record), Some(creation)) => record.add_entry(creation, parent, name, EntryKind::Directory),
            (None, Some(_)) => {}
            // Another copy that created the directory, and is undone, leaves it to this one.
            (record, None) => {
                if let Ok(found) = stat_at(parent, name)
                    && !record.as_ref().is_some_and(|record| record.has_created(&found))
                {
                    mark_shared(found.id());
                }
            }
        }
        Ok(created.is_some())
    }
}

/// An entry that the caller may filter out before it is copied.
#[derive(Clone, Debug)]
pub struct FilterRequest {
    /// The entry's path from the top.
    pub path: PathBuf,
    /// The entry's kind.
    pub kind: EntryKind,
}

/// A copy. If the destination did not exist, the copy is complete in the end or leaves nothing. A copy that is dropped
/// before its commit is undone.
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
        created: Option<CreatedTop>,
    },
    /// A tree is copied. `created` is its top, if the copy created it.
    Walked {
        created: Option<CreatedTop>,
    },
    /// A single file is copied.
    Filled {
        parent: OwnedFd,
        name: OsString,
        file: FilledFile,
    },
    Done,
}

impl CopyJob {
    /// Creates a copy that has not begun.
    pub fn new(source: CopySource, target: CopyDest, policy: CopyPolicy, progress: Arc<Progress>) -> Self {
        let context = CopyContext {
            endpoints: Endpoints { from: source.endpoint, to: target.endpoint },
            policy,
            progress,
            may_clone: AtomicBool::new(true),
            // The source, until the destination is open: it must not be copied into itself.
            top: source.stat.id(),
            own_ids: effective_ids(),
            record: None,
            top_path: Arc::default(),
        };
        CopyJob {
            context,
            stage: JobStage::Ready { source: source.fd, kind: source.stat.kind(), place: target.place },
        }
    }

    /// Continues up to the commit point (`None`) or to entries that need a decision. `decisions` answer the last
    /// requests, in order. An error undoes the copy.
    pub fn advance(&mut self, decisions: &[bool]) -> Result<Option<Vec<FilterRequest>>> {
        let result = self.begin().and_then(|()| self.advance_walk(decisions));
        let result = result.map_err(|error| self.context.policy.map_error(error));
        if result.is_err() {
            self.undo();
        }
        result
    }

    /// Passes the commit point. An error undoes the copy.
    pub fn commit(mut self) -> Result<()> {
        let result = match std::mem::replace(&mut self.stage, JobStage::Done) {
            JobStage::Filled { parent, name, file } => file.publish(&self.context.top_task(&parent, &name)),
            stage => {
                self.stage = stage;
                self.context.policy.cancel.commit()
            }
        };
        if result.is_ok() {
            self.stage = JobStage::Done;
        }
        result.map_err(|error| self.context.policy.map_error(error))
    }

    fn undo(&mut self) {
        match std::mem::replace(&mut self.stage, JobStage::Done) {
            JobStage::Walking { created: Some(created), .. }
            | JobStage::Walked { created: Some(created) } => {
                self.context.record.iter().for_each(|record| created.undo(record));
            }
            JobStage::Filled { parent, name, file } => file.undo(&self.context.top_task(&parent, &name)),
            _ => {}
        }
    }

    fn begin(&mut self) -> Result<()> {
        self.context.policy.yield_turn()?;
        let JobStage::Ready { .. } = self.stage else { return Ok(()) };
        let JobStage::Ready { source, kind, place } = std::mem::replace(&mut self.stage, JobStage::Done)
        else {
            return Ok(());
        };
        match (kind, place) {
            (EntryKind::Directory, place) => self.begin_walk(source, place),
            (kind, CopyDestPlace::Entry { parent, name }) => {
                let file = self.fill_single(&source, kind, &parent, &name)?;
                self.stage = JobStage::Filled { parent, name, file };
                Ok(())
            }
            (_, CopyDestPlace::Directory(_)) => Err(self.context.endpoints.to.io_error_because(
                Path::new(""),
                Errno::EISDIR,
                "a directory is replaced only by a directory",
            )),
        }
    }

    fn fill_single(
        &self,
        source: &OwnedFd,
        kind: EntryKind,
        parent: &OwnedFd,
        name: &OsStr,
    ) -> Result<FilledFile> {
        let context = &self.context;
        let task = context.top_task(parent, name);
        if kind != EntryKind::File {
            return Err(not_copied(&task));
        }
        let stat = FileStat::of(source.as_fd())
            .map_err(|error| context.endpoints.from.io_error("stat", Path::new(""), error))?;
        let file = open_found(&task, source.as_fd())?;
        fill_file(&task, &mut TransferBuffer::default(), file, &stat)
    }

    fn begin_walk(&mut self, source: OwnedFd, place: CopyDestPlace) -> Result<()> {
        let context = &mut self.context;
        let top = Path::new("");
        let from = readable_directory(source.as_fd())
            .map_err(|error| context.endpoints.from.io_error("scandir", top, error))?;
        let endpoints = &context.endpoints;
        let io_error = |syscall, error: io::Error| endpoints.to.io_error(syscall, top, error);
        let outer = match &place {
            CopyDestPlace::Directory(dir) => dir,
            CopyDestPlace::Entry { parent, .. } => parent,
        };
        if is_within(outer.as_fd(), context.top).map_err(|error| io_error("stat", error))? {
            return Err(context.copied_into_itself());
        }
        let (to, created) = match place {
            CopyDestPlace::Directory(dir) => (dir, None),
            CopyDestPlace::Entry { parent, name } => {
                let mode =
                    has_inheritance(parent.as_fd()).and_then(|has_inheritance| match has_inheritance {
                        true => final_mode(context, from.as_fd()),
                        false => Ok(INITIAL_DIR_MODE),
                    });
                let mode = endpoints.map_io_error("listxattr", PathBuf::new, mode)?;
                context.record = Some(CopyRecord::new());
                let is_new = context.create_directory(parent.as_fd(), &name, mode, PathBuf::new)?;
                let opened = open_subdirectory(parent.as_fd(), Path::new(&name))
                    .and_then(|dir| Ok((FileId::of_open(dir.as_fd())?, dir)));
                if opened.is_err() && is_new {
                    // The original error says more than an error of the cleanup.
                    let _removed = remove_directory(parent.as_fd(), &name);
                }
                let (id, dir) = opened.map_err(|error| io_error("open", busy(error)))?;
                (dir, is_new.then_some(CreatedTop { parent, name, id }))
            }
        };
        context.top = FileId::of_open(to.as_fd()).map_err(|error| io_error("stat", error))?;
        context.record = context.record.take().filter(|_| created.is_some());
        let walk = Box::new(Walk::new(DirPair { from, to }, created.is_some()));
        self.stage = JobStage::Walking { walk, created };
        Ok(())
    }

    fn advance_walk(&mut self, decisions: &[bool]) -> Result<Option<Vec<FilterRequest>>> {
        let JobStage::Walking { walk, .. } = &mut self.stage else { return Ok(None) };
        let context = &self.context;
        let requests = with_workers(context, |pool| walk.advance(context, pool, decisions))?;
        if requests.is_none()
            && let JobStage::Walking { created, .. } = std::mem::replace(&mut self.stage, JobStage::Done)
        {
            self.stage = JobStage::Walked { created };
        }
        Ok(requests)
    }
}

impl Drop for CopyJob {
    fn drop(&mut self) {
        self.undo();
    }
}
