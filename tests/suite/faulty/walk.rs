//! Walking trees without care.

use super::{Check, FaultyVolume, HELD, LEFT, remove, shown};
use nix::errno::Errno;
use nix::libc;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What a walk tells of.
pub enum Met {
    /// A directory, before what is in it.
    Directory(Metadata),
    /// The same directory afterwards.
    Done(Metadata),
    /// Anything else.
    Other(Metadata),
}

/// Where a walk is: the path of a directory, and the open one that it begins with.
struct Here {
    path: PathBuf,
    _held: Option<File>,
}

/// Receives each entry with its path from the top and the path to use.
type Visit<'v> = dyn FnMut(Met, &Path, &Path) -> io::Result<()> + 'v;

impl FaultyVolume {
    pub fn remove_all(&self, place: &Path) -> io::Result<()> {
        let removed = self.walk(place, &mut |met, below, at| match met {
            Met::Directory(_) => Ok(()),
            // `..` may have led anywhere.
            Met::Done(_) | Met::Other(_) if !self.in_fixture(at) => Err(io::Error::other(LEFT)),
            Met::Done(found) | Met::Other(found) => match remove(at, found) {
                // He goes on, as `rm` does, and fails in the end because the top is not empty.
                Err(_) if !below.as_os_str().is_empty() => Ok(()),
                removed => removed,
            },
        });
        match removed {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    pub fn used_bytes(&self, place: &Path) -> io::Result<u64> {
        let mut used = 0;
        self.walk(place, &mut |met, _, _| {
            if let Met::Directory(found) | Met::Other(found) = met {
                used += found.blocks() * 512;
            }
            Ok(())
        })?;
        Ok(used)
    }

    pub fn copy(&self, from: &Path, to: &Path) -> io::Result<()> {
        let holder = to.parent().map_or_else(|| Ok(PathBuf::new()), fs::canonicalize)?;
        let from_real = fs::canonicalize(from)?;
        // Who checks nothing copies the root into itself.
        let is_unchecked = self.check == Check::Nothing && from_real == fs::canonicalize(&self.root)?;
        if !is_unchecked && holder.starts_with(&from_real) {
            return Err(Errno::EINVAL.into());
        }
        self.walk(from, &mut |met, below, at| match met {
            Met::Directory(_) => fs::create_dir_all(below_or_top(to, below)),
            Met::Other(found) if found.is_file() => fs::copy(at, below_or_top(to, below)).map(drop),
            Met::Other(_) | Met::Done(_) => Ok(()),
        })
    }

    pub fn list_all(&self, place: &Path, path: &Path) -> io::Result<Vec<String>> {
        let mut entries = Vec::new();
        fs::read_dir(place)?;
        self.walk(place, &mut |met, below, _| {
            if !matches!(met, Met::Done(_)) && !below.as_os_str().is_empty() {
                entries.push(shown(&path.join(below)));
            }
            Ok(())
        })?;
        Ok(entries)
    }

    fn walk(&self, place: &Path, visit: &mut Visit<'_>) -> io::Result<()> {
        let (holder, name) = match (place.parent(), place.file_name()) {
            (Some(holder), Some(name)) => (holder, name),
            _ => (place, OsStr::new("")),
        };
        let here = Here { path: holder.to_owned(), _held: None };
        self.step(here, name, Path::new(""), visit).map(drop)
    }

    /// Goes through the entry of that name, and gives where it is afterwards: who goes step by step is where `..` led
    /// him from what is below.
    fn step(&self, here: Here, name: &OsStr, below: &Path, visit: &mut Visit<'_>) -> io::Result<Here> {
        let at = here.path.join(name);
        let is_top = below.as_os_str().is_empty();
        let found = match if is_top { self.look(&at) } else { fs::symlink_metadata(&at) } {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_top => return Ok(here),
            found => found?,
        };
        if !found.is_dir() {
            visit(Met::Other(found), below, &at)?;
            return Ok(here);
        }
        if !self.in_fixture(&at) {
            return Err(io::Error::other(LEFT));
        }
        let mut inside = self.enter(&at)?;
        // Before a copy of it is made in it.
        let names = directories_first(&inside.path)?;
        visit(Met::Directory(found.clone()), below, &at)?;
        for name in names {
            inside = self.step(inside, &name, &below.join(&name), visit)?;
        }
        let after = match self.check {
            Check::Steps => self.enter(&inside.path.join(".."))?,
            _ => here,
        };
        visit(Met::Done(found), below, &after.path.join(name))?;
        Ok(after)
    }

    fn enter(&self, at: &Path) -> io::Result<Here> {
        if self.check != Check::Steps {
            return Ok(Here { path: at.to_owned(), _held: None });
        }
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let dir = OpenOptions::new().read(true).custom_flags(flags).open(at)?;
        Ok(Here { path: format!("{HELD}/{}", dir.as_raw_fd()).into(), _held: Some(dir) })
    }
}

fn below_or_top(top: &Path, below: &Path) -> PathBuf {
    match below.as_os_str().is_empty() {
        true => top.to_owned(),
        false => top.join(below),
    }
}

/// The names of a directory's entries.
fn directories_first(place: &Path) -> io::Result<Vec<OsString>> {
    let mut entries = fs::read_dir(place)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(|entry| !entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(entries.into_iter().map(|entry| entry.file_name()).collect())
}
