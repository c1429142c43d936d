//! Deleting a tree that somebody else may be changing.
//!
//! No path is followed twice: each directory is held by descriptor and its entries are unlinked by name in it.
//! Depth costs neither stack nor descriptors, for a directory too deep is first moved up to the tree's top.

use super::dir_from;
use crate::error::Error;
use crate::sys::{
    FileStat, Reach, open_subdirectory, our_ids, regain_access, regain_access_to, remove_in_user_namespace,
    stat_at, unique_token,
};
use cap_std::fs::{Dir, Metadata, MetadataExt};
use nix::errno::Errno;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How many directories are held open at once.
const HELD: usize = 64;

/// How many entries of a directory are unlinked in one pass.
const AT_ONCE: usize = 100_000;

/// The same of one that was empty and that somebody filled again.
const REFILLED_AT_ONCE: usize = 10_000;

/// A directory of at most this length, in bytes, is emptied in a moment.
const LENGTH_OF_SMALL: u64 = 16 << 10;

/// How often somebody may refill or swap what is being deleted before we give up.
const PATIENCE: u32 = 200;

/// How many entries that are younger than the removal are removed with the rest: who adds as fast as we remove is
/// not to keep us for ever.
const MAX_ADDED: usize = 20_000;

/// A removal of a tree without help.
#[derive(Debug)]
pub struct TreeRemover {
    /// The directory that holds the tree, the tree's top, and so on inwards.
    levels: Vec<OpenLevel>,
    disturbances: u32,
    added: usize,
    began: SystemTime,
    /// When to stop, if there is more to remove.
    until: Option<Instant>,
}

/// An open directory and what is left to remove from it.
#[derive(Debug)]
struct OpenLevel {
    dir: Dir,
    name: OsString,
    entries: Vec<PendingEntry>,
    /// How many more entries it held than one pass takes.
    beyond: usize,
}

/// What is left to remove of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PendingEntry {
    name: OsString,
    visit: Pass,
}

/// What we had to do with an entry before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// Nothing, so that its time of change is somebody else's.
    First,
    /// It was moved up here.
    Hoisted,
    /// It was emptied as far as one pass goes, and this many entries were beyond that.
    Repeat { beyond: usize },
}

impl PendingEntry {
    fn found(name: OsString) -> Self {
        PendingEntry { name, visit: Pass::First }
    }
}

impl TreeRemover {
    /// One that has not begun; see [`super::purge()`].
    pub fn new(parent: OwnedFd, name: &OsStr) -> Self {
        let entries = vec![PendingEntry::found(name.to_owned())];
        let levels = vec![OpenLevel { dir: dir_from(parent), name: OsString::new(), entries, beyond: 0 }];
        TreeRemover { levels, disturbances: 0, added: 0, began: SystemTime::now(), until: None }
    }

    /// Removes until everything is gone. With `until` it returns `false` at about that time, or before a large directory, if
    /// there is more to remove. An error comes with the owner of what keeps this process out, if that is another user.
    pub fn go_on(&mut self, shown: &Path, until: Option<Instant>) -> Result<bool, (Error, Option<u32>)> {
        self.until = until;
        while let Some(level) = self.levels.last_mut() {
            if self.until.is_some_and(|until| Instant::now() >= until) {
                return Ok(false);
            }
            let entry = level.entries.pop();
            let step = match &entry {
                Some(entry) => self.remove(entry),
                None => self.leave(),
            };
            let name = entry.as_ref().map(|entry| entry.name.as_os_str());
            step.map_err(|error| self.failed(shown, name, error))?;
        }
        Ok(true)
    }

    /// Goes back to before anything was opened.
    pub fn begin_again(&mut self, name: &OsStr) {
        self.levels.truncate(1);
        if let [outermost] = &mut self.levels[..] {
            outermost.entries = vec![PendingEntry::found(name.to_owned())];
        }
    }

    /// See [`remove_in_user_namespace`].
    pub fn remove_in_user_namespace(&self, name: &OsStr, reach: Reach) -> io::Result<()> {
        match self.levels.first() {
            Some(outermost) => remove_in_user_namespace(outermost.dir.as_fd(), name, reach),
            None => Ok(()),
        }
    }

    /// Removes an entry of the innermost level, or makes the directory it is the innermost level.
    fn remove(&mut self, entry: &PendingEntry) -> io::Result<()> {
        let PendingEntry { name, visit } = entry;
        let held = self.levels.len();
        let [.., innermost] = &mut self.levels[..] else { return Ok(()) };
        match with_access(&innermost.dir, || innermost.dir.remove_file(name)) {
            Err(error) if errno(&error) == Some(Errno::EISDIR) => {}
            result => return gone(result),
        }
        if held >= HELD && self.hoist(name)? {
            return Ok(());
        }
        let [.., innermost] = &mut self.levels[..] else { return Ok(()) };
        let open = || open_subdirectory(innermost.dir.as_fd(), Path::new(name));
        let (opened, untouched) = match open() {
            Err(error) if regained(&error, &innermost.dir, name) => (open(), false),
            opened => (opened, *visit == Pass::First),
        };
        match opened {
            Ok(fd) => {
                let dir = dir_from(fd);
                let found = dir.dir_metadata()?;
                if self.until.is_some() && found.len() > LENGTH_OF_SMALL {
                    innermost.entries.push(entry.clone());
                    self.until = Some(Instant::now());
                    return Ok(());
                }
                let looked_at = match untouched && !is_since(self.began, changed(&found)) {
                    true => None,
                    false => Some(self.began),
                };
                let Emptied { left, added, beyond } = empty(&dir, *visit, looked_at)?;
                self.levels.push(OpenLevel { dir, name: name.to_owned(), entries: left, beyond });
                self.added += added;
                match self.added > MAX_ADDED {
                    true => Err(Errno::EBUSY.into()),
                    false => Ok(()),
                }
            }
            Err(error) => match errno(&error) {
                Some(Errno::ENOENT) => Ok(()),
                Some(Errno::ELOOP | Errno::ENOTDIR) => {
                    innermost.entries.push(entry.clone());
                    self.disturbed()
                }
                Some(Errno::EXDEV) => Err(Errno::EBUSY.into()),
                _ => Err(error),
            },
        }
    }

    /// Moves a directory of the innermost level to the tree's top, to be emptied from there. Out of a subvolume
    /// that a guest made in the tree only subvolumes can be moved: then to the outermost level within it, and where
    /// there is none but the innermost itself, nothing is moved.
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
        let lifted = OsString::from(unique_token());
        let rename = || with_access(&innermost.dir, || innermost.dir.rename(name, &top.dir, &lifted));
        // Moving a directory changes what it says of its parent, so it must be writable itself.
        let renamed = match rename() {
            Err(error) if regained(&error, &innermost.dir, name) => rename(),
            renamed => renamed,
        };
        match renamed {
            Err(error) if errno(&error) == Some(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error),
            Ok(()) => {
                top.entries.push(PendingEntry { name: lifted, visit: Pass::Hoisted });
                Ok(())
            }
        }
    }

    /// Removes the innermost directory, which is empty as far as we know.
    fn leave(&mut self) -> io::Result<()> {
        let [.., holder, level] = &mut self.levels[..] else {
            self.levels.clear();
            return Ok(());
        };
        match with_access(&holder.dir, || holder.dir.remove_dir(&level.name)) {
            // Larger than one pass, refilled or swapped. What stands there now is opened anew, for the one we hold
            // may be elsewhere.
            Err(error) if matches!(errno(&error), Some(Errno::ENOTEMPTY | Errno::ENOTDIR)) => {
                let beyond = level.beyond;
                holder
                    .entries
                    .push(PendingEntry { name: level.name.clone(), visit: Pass::Repeat { beyond } });
                if beyond == 0 {
                    self.disturbed()?;
                }
            }
            result => gone(result)?,
        }
        self.levels.pop();
        Ok(())
    }

    fn disturbed(&mut self) -> io::Result<()> {
        self.disturbances += 1;
        match self.disturbances > PATIENCE {
            true => Err(Errno::EBUSY.into()),
            false => Ok(()),
        }
    }

    /// The error of a step; where other users own what it is about, it says who, and what can be done.
    fn failed(&self, shown: &Path, entry: Option<&OsStr>, error: io::Error) -> (Error, Option<u32>) {
        let path = self.path_of(shown, entry);
        let refused = errno(&error).filter(|errno| matches!(errno, Errno::EACCES | Errno::EPERM));
        match refused.and_then(|errno| Some((errno, self.other_owner(entry)?))) {
            Some((errno, owner)) => (Error::removal_refused(&path, errno, owner, our_ids().0), Some(owner)),
            None => (Error::file_system("rm", path, error), None),
        }
    }

    /// The user that keeps this process, unless it is root, from removing an entry of the innermost level.
    fn other_owner(&self, entry: Option<&OsStr>) -> Option<u32> {
        let dir = self.levels.last()?.dir.as_fd();
        let of_entry = entry.and_then(|entry| stat_at(dir, entry).ok());
        let owners = [FileStat::of(dir).ok(), of_entry].into_iter().flatten().map(|facts| facts.owner().0);
        let ours = our_ids().0;
        owners.filter(|_| ours != 0).find(|owner| *owner != ours)
    }

    fn path_of(&self, shown: &Path, entry: Option<&OsStr>) -> PathBuf {
        let inside = self.levels.iter().skip(2).map(|level| level.name.as_os_str());
        let entry = entry.filter(|_| self.levels.len() > 1);
        inside.chain(entry).fold(shown.to_owned(), |path, name| path.join(name))
    }
}

/// What one pass made of a directory.
struct Emptied {
    /// Directories, and what could not be unlinked, which is then tried and reported by its own name.
    left: Vec<PendingEntry>,
    /// How many entries were younger than the removal.
    added: usize,
    /// How many entries were beyond what one pass takes.
    beyond: usize,
}

/// Unlinks what is no directory. Of a directory with more entries than one pass takes the others come when it turns
/// out not to be empty. They do not get more then, so one that grows has an end.
/// What is younger than `began` is counted, where one is given: nobody need look in a directory that did not change.
fn empty(dir: &Dir, visit: Pass, began: Option<SystemTime>) -> io::Result<Emptied> {
    let (mut added, mut left) = (0, Vec::new());
    let mut entries = dir.entries()?;
    let at_once = match visit {
        Pass::Repeat { beyond: 0 } => REFILLED_AT_ONCE,
        _ => AT_ONCE,
    };
    for entry in entries.by_ref().take(at_once) {
        let entry = entry?;
        if let Some(began) = began {
            added += usize::from(entry.metadata().is_ok_and(|entry| is_since(began, born(&entry))));
        }
        let name = entry.file_name();
        if entry.file_type()?.is_dir() || gone(dir.remove_file(&name)).is_err() {
            left.push(PendingEntry::found(name));
        }
    }
    let beyond = match visit {
        Pass::Repeat { beyond } => beyond.saturating_sub(at_once),
        _ => entries.count(),
    };
    Ok(Emptied { left, added, beyond })
}

/// When an entry was made; where the file system does not say, when it was last changed.
fn born(metadata: &Metadata) -> Option<SystemTime> {
    metadata.created().map(|born| born.into_std()).ok().or_else(|| changed(metadata))
}

/// When an entry was last changed, which nobody can put back.
fn changed(metadata: &Metadata) -> Option<SystemTime> {
    let since_epoch = Duration::new(metadata.ctime() as u64, metadata.ctime_nsec() as u32);
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}

/// Whether something happened since then. A time that is still to come says nothing: the clock was put back.
fn is_since(then: SystemTime, time: Option<SystemTime>) -> bool {
    time.is_some_and(|time| (then..SystemTime::now()).contains(&time))
}

/// Runs a step that changes `dir`, and again with the rights that its owner may have taken from itself.
fn with_access(dir: &Dir, step: impl Fn() -> io::Result<()>) -> io::Result<()> {
    match step() {
        Err(error) if errno(&error) == Some(Errno::EACCES) && regain_access(dir.as_fd()).is_ok() => step(),
        result => result,
    }
}

/// Whether it was for want of rights on the directory `name` that a step failed, and they are there now.
fn regained(error: &io::Error, dir: &Dir, name: &OsStr) -> bool {
    errno(error) == Some(Errno::EACCES) && regain_access_to(dir.as_fd(), Path::new(name)).is_ok()
}

/// What somebody else removed first is removed as well.
fn gone(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if errno(&error) == Some(Errno::ENOENT) => Ok(()),
        result => result,
    }
}

fn errno(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test looks at the disk from outside")]
mod tests {
    use super::*;
    use std::fs::{self, File};

    #[test]
    fn a_directory_that_was_moved_away_and_stands_there_again_is_not_emptied_where_it_went() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::create_dir_all(path("volume/dir")).unwrap();
        let level = |name: &str, name_in_holder: &str| OpenLevel {
            dir: dir_from(File::open(path(name)).unwrap().into()),
            name: name_in_holder.into(),
            entries: Vec::new(),
            beyond: 0,
        };
        let levels = vec![level("volume", ""), level("volume/dir", "dir")];
        let mut purge =
            TreeRemover { levels, disturbances: 0, added: 0, began: SystemTime::now(), until: None };
        fs::rename(path("volume/dir"), path("outside")).unwrap();
        fs::write(path("outside/kept"), "kept").unwrap();
        fs::create_dir_all(path("volume/dir/again")).unwrap();
        purge.leave().unwrap();
        assert_eq!(fs::read_to_string(path("outside/kept")).unwrap(), "kept");
        assert_eq!(purge.levels.len(), 1);
        assert_eq!(
            purge.levels[0].entries,
            [PendingEntry { name: "dir".into(), visit: Pass::Repeat { beyond: 0 } }]
        );
    }
}
