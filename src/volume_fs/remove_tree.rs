//! Deletes a tree that other processes may be changing.
//!
//! No path is followed twice: each directory is held by descriptor, and its entries are unlinked by name in it. Depth
//! costs neither stack nor descriptors, because a directory too deep is moved up to the tree's top first.

use super::dir_from;
use crate::error::{Errno, Error};
use crate::sys::fd::{AsFd, BorrowedFd, OwnedFd};
use crate::sys::{
    FileStat, effective_ids, open_subdirectory, regain_access, regain_access_to, stat_at, unique_token,
};
use cap_std::fs::Dir;
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// The most directories that are open at once.
const MAX_OPEN_DIRS: usize = 64;

/// The most entries of a directory that one pass unlinks.
const MAX_ENTRIES_PER_PASS: usize = 100_000;

/// The most entries that one pass unlinks from a directory that was empty and was filled again.
const MAX_ENTRIES_PER_REFILL: usize = 10_000;

/// The length in bytes up to which a directory is emptied in a few milliseconds.
const SMALL_DIR_BYTES: u64 = 16 << 10;

/// How many times another process may refill or replace a directory before the removal fails.
const MAX_DISTURBANCES: u32 = 200;

/// The most entries younger than the removal that are removed with the rest. A process that keeps adding entries must
/// not keep the removal running for ever.
const MAX_ADDED_ENTRIES: usize = 20_000;

/// A removal of a tree by this process alone.
#[derive(Debug)]
pub struct TreeRemover {
    /// The parent of the tree, the tree's top, and so on inwards. Without the parent if the top stays.
    levels: Vec<OpenLevel>,
    /// The next pass over the top, if the top stays.
    kept_top: Option<Pass>,
    disturbances: u32,
    added: usize,
    began: SystemTime,
    /// When to stop, if there is more to remove.
    until: Option<Instant>,
}

/// An open directory and the entries that are left to remove from it.
#[derive(Debug)]
struct OpenLevel {
    dir: Dir,
    name: OsString,
    entries: Vec<PendingEntry>,
    /// How many more entries the directory held than one pass takes.
    beyond: usize,
}

/// An entry that is left to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PendingEntry {
    name: OsString,
    pass: Pass,
}

/// What the removal did with an entry before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Nothing, so that its `ctime` was set by another process.
    First,
    /// Moved it up to this directory.
    Hoisted,
    /// Emptied it as far as one pass goes; `beyond` entries were left.
    Repeat { beyond: usize },
}

impl PendingEntry {
    fn found(name: OsString) -> Self {
        PendingEntry { name, pass: Pass::First }
    }
}

impl TreeRemover {
    /// Creates a removal that has not begun; see [`super::remove_tree()`].
    pub fn new(parent: OwnedFd, name: &OsStr) -> Self {
        let entries = vec![PendingEntry::found(name.to_owned())];
        let levels = vec![OpenLevel { dir: dir_from(parent), name: OsString::new(), entries, beyond: 0 }];
        TreeRemover::with_levels(levels, None)
    }

    /// Creates a removal of everything below an open directory, which itself stays.
    pub fn of_content(top: OwnedFd) -> Self {
        let top = OpenLevel { dir: dir_from(top), name: OsString::new(), entries: Vec::new(), beyond: 0 };
        TreeRemover::with_levels(vec![top], Some(Pass::First))
    }

    fn with_levels(levels: Vec<OpenLevel>, kept_top: Option<Pass>) -> Self {
        let began = SystemTime::now();
        TreeRemover { levels, kept_top, disturbances: 0, added: 0, began, until: None }
    }

    /// Continues until everything is removed. With `until`, returns `false` at about that time, or before a large
    /// directory, if there is more to remove. Returns an error with the owner of the entry that this process may not
    /// remove, if that is another user.
    pub fn advance(&mut self, shown: &Path, until: Option<Instant>) -> Result<bool, (Error, Option<u32>)> {
        self.until = until;
        while let Some(level) = self.levels.last_mut() {
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            let entry = level.entries.pop();
            let step = match &entry {
                Some(entry) => self.remove(entry),
                None => self.remove_innermost(),
            };
            let name = entry.as_ref().map(|entry| entry.name.as_os_str());
            step.map_err(|error| self.removal_error(shown, name, error))?;
        }
        Ok(true)
    }

    /// Closes all directories but the outermost, and starts at its entry `name` again, or with `None` at a top that
    /// stays.
    pub fn restart(&mut self, name: Option<&OsStr>) {
        self.levels.truncate(1);
        self.kept_top = self.kept_top.map(|_| Pass::First);
        if let [outermost] = &mut self.levels[..] {
            outermost.entries = name.map(|name| PendingEntry::found(name.to_owned())).into_iter().collect();
        }
    }

    /// Returns the parent of the tree, or the top if that stays.
    pub fn outermost_dir(&self) -> Option<BorrowedFd<'_>> {
        self.levels.first().map(|outermost| outermost.dir.as_fd())
    }

    /// Returns names in the outermost directory: all, or `limit` if there are more.
    pub fn outermost_names(&self, limit: usize) -> io::Result<Vec<OsString>> {
        let Some(outermost) = self.levels.first() else { return Ok(Vec::new()) };
        let entries = outermost.dir.entries()?.take(limit);
        entries.map(|entry| Ok(entry?.file_name())).collect()
    }

    /// Removes an entry of the innermost level, or makes the directory that it is the innermost level.
    fn remove(&mut self, entry: &PendingEntry) -> io::Result<()> {
        let PendingEntry { name, pass } = entry;
        let open_dirs = self.levels.len();
        let [.., innermost] = &mut self.levels[..] else { return Ok(()) };
        match with_access(&innermost.dir, || innermost.dir.remove_file(name)) {
            Err(error) if errno(&error) == Some(Errno::EISDIR) => {}
            result => return ignore_missing(result),
        }
        if open_dirs >= MAX_OPEN_DIRS && self.hoist(name)? {
            return Ok(());
        }
        let [.., innermost] = &mut self.levels[..] else { return Ok(()) };
        let open = || open_subdirectory(innermost.dir.as_fd(), Path::new(name));
        let (opened, untouched) = match open() {
            Err(error) if regained(&error, &innermost.dir, name) => (open(), false),
            opened => (opened, *pass == Pass::First),
        };
        match opened {
            Ok(fd) => {
                let found = FileStat::of(fd.as_fd())?;
                let dir = dir_from(fd);
                if self.until.is_some() && found.length() > SMALL_DIR_BYTES {
                    innermost.entries.push(entry.clone());
                    self.until = Some(Instant::now());
                    return Ok(());
                }
                let looked_at = match untouched && !is_after(self.began, found.changed()) {
                    true => None,
                    false => Some(self.began),
                };
                let Emptied { left, added, beyond } = empty(&dir, *pass, looked_at)?;
                self.levels.push(OpenLevel { dir, name: name.to_owned(), entries: left, beyond });
                self.count_added(added)
            }
            Err(error) => match errno(&error) {
                Some(Errno::ENOENT) => Ok(()),
                Some(Errno::ELOOP | Errno::ENOTDIR) => {
                    innermost.entries.push(entry.clone());
                    self.count_disturbance()
                }
                Some(Errno::EXDEV) => Err(Errno::EBUSY.into()),
                _ => Err(error),
            },
        }
    }

    /// Moves a directory of the innermost level to the tree's top, to be emptied from there. Out of a nested subvolume
    /// only subvolumes can be moved. A directory then goes to the outermost level within its subvolume. Returns `false`
    /// if that is the innermost level itself.
    fn hoist(&mut self, name: &OsStr) -> io::Result<bool> {
        let levels = self.levels.len();
        for target in 1..levels.saturating_sub(1) {
            match self.hoist_to(target, name) {
                Err(error) if errno(&error) == Some(Errno::EXDEV) => {}
                result => return result.map(|()| true),
            }
        }
        Ok(false)
    }

    fn hoist_to(&mut self, target: usize, name: &OsStr) -> io::Result<()> {
        let Some((innermost, others)) = self.levels.split_last_mut() else { return Ok(()) };
        let Some(top) = others.get_mut(target) else { return Ok(()) };
        let hoisted = OsString::from(unique_token());
        let rename = || with_access(&innermost.dir, || innermost.dir.rename(name, &top.dir, &hoisted));
        // Moving a directory changes its `..`, so the directory itself must be writable.
        let renamed = match rename() {
            Err(error) if regained(&error, &innermost.dir, name) => rename(),
            renamed => renamed,
        };
        match renamed {
            Err(error) if errno(&error) == Some(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                top.entries.push(PendingEntry { name: hoisted, pass: Pass::Hoisted });
                Ok(())
            }
        }
    }

    /// Removes the innermost directory, which is empty as far as known.
    fn remove_innermost(&mut self) -> io::Result<()> {
        let [.., parent, level] = &mut self.levels[..] else { return self.end_or_empty_top() };
        match with_access(&parent.dir, || parent.dir.remove_dir(&level.name)) {
            // The directory was larger than one pass, refilled or replaced. TOCTOU: the entry is opened again, because
            // the open directory may be elsewhere now.
            Err(error) if matches!(errno(&error), Some(Errno::ENOTEMPTY | Errno::ENOTDIR)) => {
                let beyond = level.beyond;
                parent.entries.push(PendingEntry { name: level.name.clone(), pass: Pass::Repeat { beyond } });
                if beyond == 0 {
                    self.count_disturbance()?;
                }
            }
            result => ignore_missing(result)?,
        }
        self.levels.pop();
        Ok(())
    }

    /// Ends the removal at its outermost level. A top that stays is emptied first.
    fn end_or_empty_top(&mut self) -> io::Result<()> {
        if let ([top], Some(pass)) = (&mut self.levels[..], self.kept_top) {
            if self.until.is_some() && FileStat::of(top.dir.as_fd())?.length() > SMALL_DIR_BYTES {
                self.until = Some(Instant::now());
                return Ok(());
            }
            let began = Some(self.began).filter(|_| pass != Pass::First);
            let Emptied { left, added, beyond } = empty(&top.dir, pass, began)?;
            if beyond > 0 || !left.is_empty() {
                top.entries = left;
                self.kept_top = Some(Pass::Repeat { beyond });
                self.count_added(added)?;
                return match pass {
                    Pass::Repeat { beyond: 0 } => self.count_disturbance(),
                    _ => Ok(()),
                };
            }
        }
        self.levels.clear();
        Ok(())
    }

    fn count_added(&mut self, added: usize) -> io::Result<()> {
        self.added += added;
        match self.added > MAX_ADDED_ENTRIES {
            true => Err(Errno::EBUSY.into()),
            false => Ok(()),
        }
    }

    fn count_disturbance(&mut self) -> io::Result<()> {
        self.disturbances += 1;
        match self.disturbances > MAX_DISTURBANCES {
            true => Err(Errno::EBUSY.into()),
            false => Ok(()),
        }
    }

    /// Converts the error of a step. If another user owns the entry, the error names the owner and a remedy.
    fn removal_error(&self, shown: &Path, entry: Option<&OsStr>, error: io::Error) -> (Error, Option<u32>) {
        let path = self.path_of(shown, entry);
        let denied = errno(&error).filter(|errno| matches!(errno, Errno::EACCES | Errno::EPERM));
        match denied.and_then(|errno| Some((errno, self.other_owner(entry)?))) {
            Some((errno, owner)) => {
                (Error::removal_refused(&path, errno, owner, effective_ids().0), Some(owner))
            }
            None => (Error::file_system("rm", path, error), None),
        }
    }

    /// Returns the other user who keeps this process, unless it is root, from removing an entry of the innermost level.
    fn other_owner(&self, entry: Option<&OsStr>) -> Option<u32> {
        let dir = self.levels.last()?.dir.as_fd();
        let of_entry = entry.and_then(|entry| stat_at(dir, entry).ok());
        let owners = [FileStat::of(dir).ok(), of_entry].into_iter().flatten().map(|stat| stat.owner().0);
        let own_uid = effective_ids().0;
        owners.filter(|_| own_uid != 0).find(|owner| *owner != own_uid)
    }

    fn path_of(&self, shown: &Path, entry: Option<&OsStr>) -> PathBuf {
        let outside = if self.kept_top.is_some() { 1 } else { 2 };
        let inside = self.levels.iter().skip(outside).map(|level| level.name.as_os_str());
        let entry = entry.filter(|_| self.levels.len() >= outside);
        inside.chain(entry).fold(shown.to_owned(), |path, name| path.join(name))
    }
}

/// The result of one pass over a directory.
struct Emptied {
    /// Directories, and entries that could not be unlinked. Each is tried again and reported by its own name.
    left: Vec<PendingEntry>,
    /// How many entries were younger than the removal.
    added: usize,
    /// How many entries one pass left.
    beyond: usize,
}

/// Unlinks all entries but directories. The entries beyond one pass follow when the directory turns out not to be
/// empty. Their number only shrinks, so that a directory that grows has an end. Counts the entries younger than
/// `began`, if given. A directory that did not change needs no such count.
fn empty(dir: &Dir, pass: Pass, began: Option<SystemTime>) -> io::Result<Emptied> {
    let (mut added, mut left) = (0, Vec::new());
    let mut entries = dir.entries()?;
    let max = match pass {
        Pass::Repeat { beyond: 0 } => MAX_ENTRIES_PER_REFILL,
        _ => MAX_ENTRIES_PER_PASS,
    };
    for entry in entries.by_ref().take(max) {
        let entry = entry?;
        let name = entry.file_name();
        if let Some(began) = began {
            let stat = stat_at(dir.as_fd(), &name);
            added += usize::from(stat.is_ok_and(|stat| is_after(began, stat.created().or(stat.changed()))));
        }
        if entry.file_type()?.is_dir() || ignore_missing(dir.remove_file(&name)).is_err() {
            left.push(PendingEntry::found(name));
        }
    }
    let beyond = match pass {
        Pass::Repeat { beyond } => beyond.saturating_sub(max),
        _ => entries.count(),
    };
    Ok(Emptied { left, added, beyond })
}

/// Returns whether a time is after `then`. A time in the future does not count: the clock was set back.
fn is_after(then: SystemTime, time: Option<SystemTime>) -> bool {
    time.is_some_and(|time| (then..SystemTime::now()).contains(&time))
}

/// Runs a step that changes `dir`. Retries it with the rights that the owner may have removed from its own directory.
fn with_access(dir: &Dir, step: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match step() {
        Err(error) if errno(&error) == Some(Errno::EACCES) && regain_access(dir.as_fd()).is_ok() => step(),
        result => result,
    }
}

/// Returns whether a step failed for lack of rights on the directory `name`, and these are restored now.
fn regained(error: &io::Error, dir: &Dir, name: &OsStr) -> bool {
    errno(error) == Some(Errno::EACCES) && regain_access_to(dir.as_fd(), Path::new(name)).is_ok()
}

/// Ignores that an entry is missing: another process removed it first.
fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if errno(&error) == Some(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

#[cfg(test)]
mod tests;
