//! Walking the tree that is copied: makes its directories, and hands out what is in them.

use super::dir_pair::DirPair;
use super::directory::{UNSETTLED, change_mode, final_mode, has_heirs, settle};
use super::endpoint::EndpointSide;
use super::entry::TaskBatch;
use super::job::{CopyContext, FilterRequest};
use super::worker_pool::WorkerPool;
use crate::error::Result;
use crate::sys::{EntryKind, EntryReader, FileStat, open_o_path, stat_at};
use crate::volume_fs::walk::cursor::{DirCursor, DirPos, TreePath};
use crate::volume_fs::walk::visited::VisitedDirs;
use cap_std::fs::Metadata;
use nix::errno::Errno;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::sync::Arc;

/// How many entries are handed out together.
const BATCH: usize = 64;

/// How many entries are asked for together.
const QUESTIONS: usize = 1024;

/// Of how many directories at most, which are held open meanwhile.
const ASKED_DIRECTORIES: usize = 16;

/// What an owner needs to fill a directory.
const OWNER_RIGHTS: u32 = 0o700;

/// What is left to do, the last first.
#[derive(Debug)]
enum WalkTask {
    /// A directory is to be copied, which has been made for it, or was there before.
    Visit { spot: DirPos, depth: usize, is_new: bool },
    /// A directory is filled, and gets a mode that would have kept us from filling it.
    SetMode { spot: DirPos, mode: u32 },
}

/// A directory whose entries are handed out.
#[derive(Debug)]
struct WalkPlace {
    pair: Arc<DirPair>,
    prefix: Arc<TreePath>,
    depth: usize,
    /// What its subdirectories' spots begin with.
    children: DirPos,
    /// Whether the copy's directory gives what is made in it more than a mode.
    has_heirs: bool,
}

/// The one that is being read.
#[derive(Debug)]
struct WalkPosition {
    place: Arc<WalkPlace>,
    listing: EntryReader,
}

/// A name in a directory, and what the directory says it is.
pub type SourceEntry = (OsString, EntryKind);

#[derive(Debug)]
pub struct Walk {
    way: DirCursor<DirPair>,
    tasks: Vec<WalkTask>,
    here: Option<WalkPosition>,
    /// What is asked for, by directory.
    asked: Vec<(Arc<WalkPlace>, Vec<SourceEntry>)>,
    visits: VisitedDirs,
}

impl Walk {
    pub fn new(top: DirPair, is_new: bool) -> Self {
        let visit = WalkTask::Visit { spot: DirPos::default(), depth: 0, is_new };
        let visits = VisitedDirs::begin(top.from.as_fd());
        Walk { way: DirCursor::new(top), tasks: vec![visit], here: None, asked: Vec::new(), visits }
    }

    /// Goes on until an answer is needed or everything is copied. `verdicts` answer what was asked last, in order.
    pub fn go(
        &mut self,
        context: &CopyContext,
        crew: &mut WorkerPool<'_, '_>,
        verdicts: &[bool],
    ) -> Result<Option<Vec<FilterRequest>>> {
        let mut answers = verdicts.iter();
        for (place, entries) in std::mem::take(&mut self.asked) {
            let is_wanted = |_: &SourceEntry| answers.next().copied().unwrap_or(false);
            let wanted = entries.into_iter().filter(is_wanted).collect();
            self.hand_out(context, crew, &place, wanted)?;
        }
        loop {
            context.rules.go_on()?;
            let Some(here) = &mut self.here else {
                if self.has_asked_enough() {
                    return Ok(Some(self.questions()));
                }
                match self.tasks.pop() {
                    Some(WalkTask::Visit { spot, depth, is_new }) => {
                        self.visit(context, spot, depth, is_new)?
                    }
                    Some(WalkTask::SetMode { spot, mode }) => {
                        crew.finish()?;
                        self.set_mode(context, &spot, mode)?;
                    }
                    None => return Ok(None),
                }
                continue;
            };
            let asked: usize = self.asked.iter().map(|(_, entries)| entries.len()).sum();
            let most = if context.rules.asks { QUESTIONS - asked } else { BATCH };
            let (entries, place) = (here.next_entries(context, most)?, here.place.clone());
            if entries.is_empty() {
                self.here = None;
            } else if !context.rules.asks {
                self.hand_out(context, crew, &place, entries)?;
            } else {
                let is_enough = entries.len() == most;
                self.asked.push((place, entries));
                if is_enough {
                    return Ok(Some(self.questions()));
                }
            }
        }
    }

    /// Whether what is asked for has to be answered before the walk goes on: what comes next may be below it, or
    /// need the way to it.
    fn has_asked_enough(&self) -> bool {
        let Some((place, _)) = self.asked.last() else { return false };
        match self.tasks.last() {
            Some(WalkTask::Visit { spot, .. }) => {
                self.asked.len() >= ASKED_DIRECTORIES || !spot.keeps_anchors_of(&place.children)
            }
            _ => true,
        }
    }

    fn questions(&self) -> Vec<FilterRequest> {
        let of_one = |(place, entries): &(Arc<WalkPlace>, Vec<SourceEntry>)| {
            let question =
                |(name, kind): &SourceEntry| FilterRequest { path: place.prefix.join(name), kind: *kind };
            entries.iter().map(question).collect::<Vec<_>>()
        };
        self.asked.iter().flat_map(of_one).collect()
    }

    fn visit(&mut self, context: &CopyContext, spot: DirPos, depth: usize, is_new: bool) -> Result<()> {
        let path = self.way.path_of(&spot);
        let pair = match self.way.open(&spot) {
            // Removed since it was listed: what is made of it is empty.
            Err((EndpointSide::From, error)) if error.kind() == ErrorKind::NotFound && depth > 0 => {
                return Ok(());
            }
            Err((EndpointSide::To, error)) if is_no_directory(&error) => {
                let problem = "something that is no directory is in the way of one";
                return Err(context.sides.to.refused_because(&path.to_path_buf(), Errno::ENOTDIR, problem));
            }
            opened => context.sides.named("open", || path.to_path_buf(), opened)?,
        };
        let from_refused = |error| context.sides.from.refused("scandir", &path.to_path_buf(), error);
        let facts = FileStat::of(pair.from.as_fd()).map_err(from_refused)?;
        if facts.id() == context.top {
            return Err(context.copied_into_itself());
        }
        if is_new {
            match settle(context, &pair, &facts, &path)? {
                Some(mode) if mode & OWNER_RIGHTS == OWNER_RIGHTS => {
                    change_mode(context, &pair, mode, &path)?;
                }
                Some(mode) => self.tasks.push(WalkTask::SetMode { spot: spot.clone(), mode }),
                None => {}
            }
        }
        if depth > 0 && context.sides.from.is_in_a_volume() {
            let found = pair.from.try_clone().and_then(|from| Metadata::from_file(&File::from(from)));
            if !found.and_then(|found| self.visits.try_visit(&found)).map_err(from_refused)? {
                // Made, or moved here, since the copy began: what is made of it stays empty.
                return Ok(());
            }
        }
        let listing = EntryReader::of(pair.from.as_fd()).map_err(from_refused)?;
        let children = self.way.anchor_below(spot, &pair);
        let has_heirs = context.sides.named("getxattr", || path.to_path_buf(), has_heirs(pair.to.as_fd()))?;
        let place = WalkPlace { pair, prefix: Arc::new(path), depth, children, has_heirs };
        self.here = Some(WalkPosition { place: Arc::new(place), listing });
        Ok(())
    }

    fn set_mode(&mut self, context: &CopyContext, spot: &DirPos, mode: u32) -> Result<()> {
        let path = self.way.path_of(spot);
        match self.way.open(spot) {
            Err((EndpointSide::From, error)) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => change_mode(
                context,
                &*context.sides.named("open", || path.to_path_buf(), opened)?,
                mode,
                &path,
            ),
        }
    }

    /// Makes directories, to be visited later, and hands out the rest.
    fn hand_out(
        &mut self,
        context: &CopyContext,
        crew: &mut WorkerPool<'_, '_>,
        place: &WalkPlace,
        entries: Vec<SourceEntry>,
    ) -> Result<()> {
        let (directories, rest): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, kind)| *kind == EntryKind::Directory);
        for (name, _) in directories {
            let is_new = place.make_directory(context, &name)?;
            self.tasks.push(WalkTask::Visit {
                spot: place.children.child(name),
                depth: place.depth + 1,
                is_new,
            });
        }
        let mut rest = rest.into_iter().peekable();
        while rest.peek().is_some() {
            crew.push(TaskBatch {
                pair: place.pair.clone(),
                prefix: place.prefix.clone(),
                depth: place.depth,
                entries: rest.by_ref().take(BATCH).collect(),
            })?;
        }
        Ok(())
    }
}

impl WalkPosition {
    fn next_entries(&mut self, context: &CopyContext, most: usize) -> Result<Vec<SourceEntry>> {
        let WalkPlace { pair, prefix, .. } = &*self.place;
        let refused = |error| context.sides.from.refused("scandir", &prefix.to_path_buf(), error);
        let mut entries = Vec::new();
        for entry in self.listing.by_ref() {
            let (name, kind) = entry.map_err(refused)?;
            let kind = match kind {
                Some(kind) => kind,
                None => match stat_at(pair.from.as_fd(), &name) {
                    Ok(facts) => facts.kind(),
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(refused(error)),
                },
            };
            entries.push((name, kind));
            if entries.len() == most {
                break;
            }
        }
        Ok(entries)
    }
}

impl WalkPlace {
    /// Whether it is new. What is there already may turn out to be no directory when it is visited.
    fn make_directory(&self, context: &CopyContext, name: &OsString) -> Result<bool> {
        let path = || self.prefix.join(name);
        let mode = match self.has_heirs.then(|| open_o_path(self.pair.from.as_fd(), name)) {
            Some(Ok((original, _))) => {
                context.sides.named("listxattr", path, final_mode(context, original.as_fd()))?
            }
            // It is looked at again when it is visited.
            Some(Err(_)) | None => UNSETTLED,
        };
        context.make_directory(self.pair.to.as_fd(), name, mode, path)
    }
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOTDIR | Errno::ELOOP))
}
