//! Walking the tree that is copied: makes its directories, and hands out what is in them.

use super::crew::Crew;
use super::entry::Batch;
use super::job::{Context, Question};
use super::rules::Owner;
use super::side::Which;
use super::way::{Pair, Spot, Way};
use crate::content::visits::Visits;
use crate::error::{Error, Result};
use crate::sys::{EntryKind, Facts, Listing, create_directory, facts_at};
use cap_std::fs::Metadata;
use nix::errno::Errno;
use nix::sys::stat::{Mode, fchmod};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::fchown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many entries are handed out together.
const BATCH: usize = 16;

/// How many entries are asked for together.
const QUESTIONS: usize = 1024;

/// What a new directory is counted as: a block of most file systems.
const DIRECTORY_BYTES: u64 = 4096;

/// What an owner needs to fill a directory.
const OWNER_RIGHTS: u32 = 0o700;

/// What is left to do, the last first.
#[derive(Debug)]
enum Task {
    /// A directory is to be copied, which has been made for it, or was there before.
    Visit { spot: Spot, depth: usize, is_new: bool },
    /// A directory is filled, and gets a mode that would have kept us from filling it.
    SetMode { spot: Spot, mode: u32 },
}

/// The directory whose entries are being handed out.
#[derive(Debug)]
struct Here {
    pair: Arc<Pair>,
    prefix: Arc<PathBuf>,
    depth: usize,
    /// What its subdirectories' spots begin with.
    children: Spot,
    listing: Listing,
}

type Entry = (OsString, EntryKind);

#[derive(Debug)]
pub struct Walk {
    way: Way,
    tasks: Vec<Task>,
    here: Option<Here>,
    asked: Vec<Entry>,
    visits: Visits,
}

impl Walk {
    pub fn new(top: Pair, is_new: bool) -> Self {
        let visit = Task::Visit { spot: Spot::top(), depth: 0, is_new };
        Walk {
            way: Way::new(top),
            tasks: vec![visit],
            here: None,
            asked: Vec::new(),
            visits: Visits::begin(),
        }
    }

    /// Goes on until an answer is needed or everything is copied. `verdicts` answer what was asked last, in order.
    pub fn go(
        &mut self,
        context: &Context,
        crew: &mut Crew<'_, '_>,
        verdicts: &[bool],
    ) -> Result<Option<Vec<Question>>> {
        let mut answers = verdicts.iter();
        let wanted: Vec<_> =
            self.asked.drain(..).filter(|_| answers.next().copied().unwrap_or(false)).collect();
        self.hand_out(context, crew, wanted)?;
        loop {
            context.rules.cancel.check()?;
            let Some(here) = &mut self.here else {
                match self.tasks.pop() {
                    Some(Task::Visit { spot, depth, is_new }) => self.visit(context, spot, depth, is_new)?,
                    Some(Task::SetMode { spot, mode }) => {
                        crew.finish()?;
                        self.set_mode(context, &spot, mode)?;
                    }
                    None => return Ok(None),
                }
                continue;
            };
            let entries = here.next_entries(context)?;
            if entries.is_empty() {
                self.here = None;
            } else if context.rules.asks {
                let question = |(name, kind): &Entry| Question { path: here.prefix.join(name), kind: *kind };
                let questions = entries.iter().map(question).collect();
                self.asked = entries;
                return Ok(Some(questions));
            } else {
                self.hand_out(context, crew, entries)?;
            }
        }
    }

    fn visit(&mut self, context: &Context, spot: Spot, depth: usize, is_new: bool) -> Result<()> {
        let path = self.way.path_of(&spot);
        let pair = match self.way.open(&spot) {
            // Removed since it was listed: what is made of it is empty.
            Err((Which::From, error)) if error.kind() == ErrorKind::NotFound && depth > 0 => return Ok(()),
            Err((Which::To, error)) if is_no_directory(&error) => {
                let problem = "something that is no directory is in the way of one";
                return Err(context.sides.to.refused_because(&path, Errno::ENOTDIR, problem));
            }
            opened => context.sides.named("open", &path, opened)?,
        };
        let from_refused = |error| context.sides.from.refused("scandir", &path, error);
        let facts = Facts::of(pair.from.as_fd()).map_err(from_refused)?;
        if facts.id() == context.top {
            return Err(context.copied_into_itself());
        }
        if is_new {
            let mode = facts.mode() & context.rules.directory_mode;
            settle(context, &pair, &facts, &path)?;
            if mode & OWNER_RIGHTS == OWNER_RIGHTS {
                change_mode(context, &pair, mode, &path)?;
            } else {
                self.tasks.push(Task::SetMode { spot: spot.clone(), mode });
            }
        }
        if depth > 0 && context.sides.from.is_in_a_volume() {
            let found = pair.from.try_clone().and_then(|from| Metadata::from_file(&File::from(from)));
            if !self.visits.enters(&found.map_err(from_refused)?) {
                // Made, or moved here, since the copy began: what is made of it stays empty.
                return Ok(());
            }
        }
        let listing = Listing::of(pair.from.as_fd()).map_err(from_refused)?;
        let children = self.way.base_below(spot, &pair);
        self.here = Some(Here { pair, prefix: Arc::new(path), depth, children, listing });
        Ok(())
    }

    fn set_mode(&mut self, context: &Context, spot: &Spot, mode: u32) -> Result<()> {
        let path = self.way.path_of(spot);
        match self.way.open(spot) {
            Err((Which::From, error)) if error.kind() == ErrorKind::NotFound => Ok(()),
            opened => change_mode(context, &*context.sides.named("open", &path, opened)?, mode, &path),
        }
    }

    /// Makes directories, to be visited later, and hands out the rest.
    fn hand_out(&mut self, context: &Context, crew: &mut Crew<'_, '_>, entries: Vec<Entry>) -> Result<()> {
        let Some(here) = &self.here else { return Ok(()) };
        let (directories, rest): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|(_, kind)| *kind == EntryKind::Directory);
        for (name, _) in directories {
            let is_new = here.make_directory(context, &name)?;
            self.tasks.push(Task::Visit { spot: here.children.child(name), depth: here.depth + 1, is_new });
        }
        let mut names = rest.into_iter().map(|(name, _)| name).peekable();
        while names.peek().is_some() {
            crew.push(Batch {
                pair: here.pair.clone(),
                prefix: here.prefix.clone(),
                depth: here.depth,
                names: names.by_ref().take(BATCH).collect(),
            })?;
        }
        Ok(())
    }
}

impl Here {
    fn next_entries(&mut self, context: &Context) -> Result<Vec<Entry>> {
        let refused = |error| context.sides.from.refused("scandir", &self.prefix, error);
        let most = if context.rules.asks { QUESTIONS } else { BATCH };
        let mut entries = Vec::new();
        for entry in self.listing.by_ref() {
            let (name, kind) = entry.map_err(refused)?;
            let kind = match kind {
                Some(kind) => kind,
                None => match facts_at(self.pair.from.as_fd(), &name) {
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

    /// Whether it is new. What is there already may turn out to be no directory when it is visited.
    fn make_directory(&self, context: &Context, name: &OsString) -> Result<bool> {
        let path = || self.prefix.join(name);
        let shown = || context.sides.to.path_of(&path()).to_string_lossy().into_owned();
        let mut is_new = true;
        context.rules.admit(shown, DIRECTORY_BYTES, 0, &mut || match create_directory(
            self.pair.to.as_fd(),
            name,
        ) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                is_new = false;
                Ok(())
            }
            made => made.map_err(|error| context.sides.to.refused("mkdir", &path(), error)),
        })?;
        Ok(is_new)
    }
}

fn settle(context: &Context, pair: &Pair, facts: &Facts, path: &Path) -> Result<()> {
    let (user, group) = facts.owner();
    if context.rules.owner == Owner::Ours || (user, group) == context.ours {
        return Ok(());
    }
    match fchown(&pair.to, Some(user), Some(group)) {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => {
            Err(context.sides.to.refused("fchown", path, error))
        }
        _ => Ok(()),
    }
}

fn change_mode(context: &Context, pair: &Pair, mode: u32, path: &Path) -> Result<(), Error> {
    let changed = fchmod(&pair.to, Mode::from_bits_truncate(mode));
    changed.map_err(|errno| context.sides.to.refused("fchmod", path, errno))
}

fn is_no_directory(error: &io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::ENOTDIR | Errno::ELOOP))
}
