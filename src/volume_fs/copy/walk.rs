//! Walks the tree that is copied: creates its directories, and queues their entries.

use super::dir_pair::DirPair;
use super::directory::{INITIAL_DIR_MODE, apply_attributes, change_mode, final_mode, has_inheritance};
use super::endpoint::EndpointSide;
use super::entry::TaskBatch;
use super::job::{CopyContext, FilterRequest};
use super::worker_pool::WorkerPool;
use crate::error::{Errno, Result};
use crate::sys::fd::AsFd;
use crate::sys::{EntryKind, EntryReader, FileStat, open_o_path, stat_at};
use crate::volume_fs::walk::cursor::{DirCursor, DirPos, TreePath};
use crate::volume_fs::walk::visited::VisitedDirs;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// The most entries of one batch.
const MAX_BATCH_ENTRIES: usize = 64;

/// The most entries that the caller decides on at once.
const MAX_FILTER_REQUESTS: usize = 1024;

/// The most directories of these entries, which stay open until the decision.
const MAX_UNDECIDED_DIRS: usize = 16;

/// The mode bits that an owner needs to fill a directory.
const OWNER_RIGHTS: u32 = 0o700;

/// The tasks that are left, the last first.
#[derive(Debug)]
enum WalkTask {
    /// Copies a directory, whose copy was created already or existed before.
    Visit { pos: DirPos, depth: usize, is_new: bool },
    /// Sets the mode of a directory that is filled. The mode would have kept this process from filling it.
    SetMode { pos: DirPos, mode: u32 },
}

/// A directory whose entries are queued.
#[derive(Debug)]
struct WalkDir {
    pair: Arc<DirPair>,
    dir_path: Arc<TreePath>,
    depth: usize,
    /// The position from which its subdirectories are named.
    children: DirPos,
    /// Whether new entries inherit more than a mode from the copy's directory.
    has_inheritance: bool,
}

/// The directory that is read.
#[derive(Debug)]
struct CurrentSource {
    dir: Arc<WalkDir>,
    listing: EntryReader,
}

/// A name in a directory, and its kind according to the directory.
pub type SourceEntry = (OsString, EntryKind);

#[derive(Debug)]
pub struct Walk {
    cursor: DirCursor<DirPair>,
    tasks: Vec<WalkTask>,
    here: Option<CurrentSource>,
    /// The entries that wait for a decision, by directory.
    undecided: Vec<(Arc<WalkDir>, Vec<SourceEntry>)>,
    visited: VisitedDirs,
}

impl Walk {
    pub fn new(top: DirPair, is_new: bool) -> Self {
        let visit = WalkTask::Visit { pos: DirPos::default(), depth: 0, is_new };
        let visited = VisitedDirs::begin(top.from.as_fd());
        Walk { cursor: DirCursor::new(top), tasks: vec![visit], here: None, undecided: Vec::new(), visited }
    }

    /// Continues until the caller must decide or everything is copied. `decisions` answer the last requests, in order.
    pub fn advance(
        &mut self,
        context: &CopyContext,
        pool: &mut WorkerPool<'_, '_>,
        decisions: &[bool],
    ) -> Result<Option<Vec<FilterRequest>>> {
        let mut answers = decisions.iter();
        for (dir, entries) in std::mem::take(&mut self.undecided) {
            let is_wanted = |_: &SourceEntry| answers.next().copied().unwrap_or(false);
            let wanted = entries.into_iter().filter(is_wanted).collect();
            self.dispatch(context, pool, &dir, wanted)?;
        }
        loop {
            context.policy.yield_turn()?;
            let Some(here) = &mut self.here else {
                if self.needs_decisions() {
                    return Ok(Some(self.filter_requests()));
                }
                match self.tasks.pop() {
                    Some(WalkTask::Visit { pos, depth, is_new }) => {
                        self.visit(context, pos, depth, is_new)?
                    }
                    Some(WalkTask::SetMode { pos, mode }) => {
                        pool.finish()?;
                        self.set_mode(context, &pos, mode)?;
                    }
                    None => return Ok(None),
                }
                continue;
            };
            let undecided: usize = self.undecided.iter().map(|(_, entries)| entries.len()).sum();
            let max =
                if context.policy.filters { MAX_FILTER_REQUESTS - undecided } else { MAX_BATCH_ENTRIES };
            let (entries, dir) = (here.next_entries(context, max)?, here.dir.clone());
            if entries.is_empty() {
                self.here = None;
            } else if !context.policy.filters {
                self.dispatch(context, pool, &dir, entries)?;
            } else {
                let is_enough = entries.len() == max;
                self.undecided.push((dir, entries));
                if is_enough {
                    return Ok(Some(self.filter_requests()));
                }
            }
        }
    }

    /// Returns whether the walk needs the decisions before it continues. The next directory may be below an undecided
    /// one, or need its anchors.
    fn needs_decisions(&self) -> bool {
        let Some((dir, _)) = self.undecided.last() else { return false };
        match self.tasks.last() {
            Some(WalkTask::Visit { pos, .. }) => {
                self.undecided.len() >= MAX_UNDECIDED_DIRS || !pos.keeps_anchors_of(&dir.children)
            }
            _ => true,
        }
    }

    fn filter_requests(&self) -> Vec<FilterRequest> {
        let of_one = |(dir, entries): &(Arc<WalkDir>, Vec<SourceEntry>)| {
            let request =
                |(name, kind): &SourceEntry| FilterRequest { path: dir.dir_path.join(name), kind: *kind };
            entries.iter().map(request).collect::<Vec<_>>()
        };
        self.undecided.iter().flat_map(of_one).collect()
    }

    fn visit(&mut self, context: &CopyContext, pos: DirPos, depth: usize, is_new: bool) -> Result<()> {
        let path = self.cursor.path_of(&pos);
        let pair = match self.cursor.open(&pos) {
            // TOCTOU: the directory was removed since it was listed. Its copy is empty.
            Err((EndpointSide::From, error)) if error.kind() == ErrorKind::NotFound && depth > 0 => {
                return Ok(());
            }
            Err((EndpointSide::To, error)) if is_no_directory(&error) => {
                let problem = "an entry that is not a directory exists where a directory is to be created";
                return Err(context.endpoints.to.io_error_because(
                    &path.to_path_buf(),
                    Errno::ENOTDIR,
                    problem,
                ));
            }
            opened => context.endpoints.map_io_error("open", || path.to_path_buf(), opened)?,
        };
        let from_error = |error| context.endpoints.from.io_error("scandir", &path.to_path_buf(), error);
        let stat = FileStat::of(pair.from.as_fd()).map_err(from_error)?;
        if stat.id() == context.top {
            return Err(context.copied_into_itself());
        }
        if is_new {
            match apply_attributes(context, &pair, &stat, &path)? {
                Some(mode) if mode & OWNER_RIGHTS == OWNER_RIGHTS => {
                    change_mode(context, &pair, mode, &path)?;
                }
                Some(mode) => self.tasks.push(WalkTask::SetMode { pos: pos.clone(), mode }),
                None => {}
            }
        }
        if depth > 0 && context.endpoints.from.is_in_a_volume() {
            // The directory was created or moved here since the copy began. Its copy stays empty.
            if !self.visited.try_visit(&stat).map_err(from_error)? {
                return Ok(());
            }
        }
        let listing = EntryReader::of(pair.from.as_fd()).map_err(from_error)?;
        let children = self.cursor.anchor_below(pos, &pair);
        let has_inheritance = context.endpoints.map_io_error(
            "getxattr",
            || path.to_path_buf(),
            has_inheritance(pair.to.as_fd()),
        )?;
        let dir = WalkDir { pair, dir_path: Arc::new(path), depth, children, has_inheritance };
        self.here = Some(CurrentSource { dir: Arc::new(dir), listing });
        Ok(())
    }

    fn set_mode(&mut self, context: &CopyContext, pos: &DirPos, mode: u32) -> Result<()> {
        let path = self.cursor.path_of(pos);
        match self.cursor.open(pos) {
            Err((EndpointSide::From, error)) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => change_mode(
                context,
                &*context.endpoints.map_io_error("open", || path.to_path_buf(), opened)?,
                mode,
                &path,
            ),
        }
    }

    /// Creates directories, to be visited later, and queues the other entries.
    fn dispatch(
        &mut self,
        context: &CopyContext,
        pool: &mut WorkerPool<'_, '_>,
        dir: &WalkDir,
        entries: Vec<SourceEntry>,
    ) -> Result<()> {
        let (directories, rest): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, kind)| *kind == EntryKind::Directory);
        for (name, _) in directories {
            let is_new = dir.create_directory(context, &name)?;
            self.tasks.push(WalkTask::Visit { pos: dir.children.child(name), depth: dir.depth + 1, is_new });
        }
        let mut rest = rest.into_iter().peekable();
        while rest.peek().is_some() {
            pool.push(TaskBatch {
                pair: dir.pair.clone(),
                dir_path: dir.dir_path.clone(),
                depth: dir.depth,
                entries: rest.by_ref().take(MAX_BATCH_ENTRIES).collect(),
            })?;
        }
        Ok(())
    }
}

impl CurrentSource {
    fn next_entries(&mut self, context: &CopyContext, max: usize) -> Result<Vec<SourceEntry>> {
        let WalkDir { pair, dir_path, .. } = &*self.dir;
        let io_error = |error| context.endpoints.from.io_error("scandir", &dir_path.to_path_buf(), error);
        let mut entries = Vec::new();
        for entry in self.listing.by_ref() {
            let (name, kind) = entry.map_err(io_error)?;
            let kind = match kind {
                Some(kind) => kind,
                None => match stat_at(pair.from.as_fd(), &name) {
                    Ok(stat) => stat.kind(),
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(io_error(error)),
                },
            };
            entries.push((name, kind));
            if entries.len() == max {
                break;
            }
        }
        Ok(entries)
    }
}

impl WalkDir {
    /// Returns whether the directory is new. An existing entry may turn out not to be a directory when it is visited.
    fn create_directory(&self, context: &CopyContext, name: &OsString) -> Result<bool> {
        let path = || self.dir_path.join(name);
        let mode = match self.has_inheritance.then(|| open_o_path(self.pair.from.as_fd(), name)) {
            Some(Ok((original, _))) => {
                context.endpoints.map_io_error("listxattr", path, final_mode(context, original.as_fd()))?
            }
            // The directory is opened again when it is visited.
            Some(Err(_)) | None => INITIAL_DIR_MODE,
        };
        context.create_directory(self.pair.to.as_fd(), name, mode, path)
    }
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOTDIR | Errno::ELOOP))
}
