//! How much space a volume takes.

use super::{Tree, dir_from};
use crate::error::{Error, Result};
use crate::model::Cancel;
use crate::sys::open_subdirectory;
use cap_std::fs::{Dir, Metadata, MetadataExt};
use nix::errno::Errno;
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The unit of `st_blocks`.
const BLOCK: u64 = 512;

/// How long a path from one base may grow, in bytes, before a new base is taken.
const REACH: usize = 512;

/// How many bases are open at once, however deep the tree.
const HELD: usize = 32;

/// A directory still to be measured: a path from the base of that index.
struct Pending {
    base: usize,
    path: PathBuf,
}

/// A directory on the way to the one being measured, and its path from the base before it. Opened anew when it
/// is needed again and was closed to save descriptors.
struct Base {
    path: PathBuf,
    dir: Option<Rc<Dir>>,
}

/// The way from the root, which is always held, to the directory being measured.
struct Way {
    root: Rc<Dir>,
    bases: Vec<Base>,
}

impl Tree {
    /// The bytes allocated on the host for all entries below and including the root: a hard link counted once,
    /// sparse files as they are, links not followed and mounts not entered. What vanishes meanwhile is not
    /// counted, nor is what this process may not read.
    pub fn used_bytes(&self, cancel: &Cancel) -> Result<u64> {
        let failed = |error| Error::file_system("scandir", ".", error).in_volume(self.volume.as_str());
        let root = Rc::new(self.root.try_clone().map_err(failed)?);
        let mut used = allocated(&root.dir_metadata().map_err(failed)?);
        let mut linked = HashSet::new();
        let mut way = Way { root, bases: Vec::new() };
        let mut pending = vec![Pending { base: 0, path: PathBuf::new() }];
        while let Some(next) = pending.pop() {
            cancel.check()?;
            let measured = way.open(&next).and_then(|dir| {
                let children = way.base_below(next, &dir);
                measure(&dir, &children, &mut linked, &mut pending)
            });
            match measured {
                Ok(bytes) => used += bytes,
                Err(error) if passes_by(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(used)
    }
}

impl Way {
    /// Opens a directory. Depth first as we go, every base beyond its own is done with.
    fn open(&mut self, next: &Pending) -> io::Result<Rc<Dir>> {
        self.bases.truncate(next.base);
        let base = self.open_base()?;
        match next.path.as_os_str().is_empty() {
            true => Ok(base),
            false => open_below(&base, &next.path),
        }
    }

    /// The last base; those before it that were closed are opened on the way there, and of all the last
    /// [`HELD`] stay open.
    fn open_base(&mut self) -> io::Result<Rc<Dir>> {
        let open = self.bases.iter().rposition(|base| base.dir.is_some());
        let mut dir = open.and_then(|at| self.bases[at].dir.clone()).unwrap_or_else(|| self.root.clone());
        for at in open.map_or(0, |at| at + 1)..self.bases.len() {
            dir = open_below(&dir, &self.bases[at].path)?;
            self.hold(at, &dir);
        }
        Ok(dir)
    }

    fn hold(&mut self, at: usize, dir: &Rc<Dir>) {
        self.bases[at].dir = Some(dir.clone());
        if let Some(far) = at.checked_sub(HELD) {
            self.bases[far].dir = None;
        }
    }

    /// What the paths of a directory's own subdirectories begin with. A directory that is far from its base
    /// becomes one.
    fn base_below(&mut self, here: Pending, dir: &Rc<Dir>) -> Pending {
        if here.path.as_os_str().len() <= REACH {
            return here;
        }
        self.bases.push(Base { path: here.path, dir: None });
        self.hold(here.base, dir);
        Pending { base: here.base + 1, path: PathBuf::new() }
    }
}

fn open_below(dir: &Dir, path: &Path) -> io::Result<Rc<Dir>> {
    Ok(Rc::new(dir_from(open_subdirectory(dir.as_fd(), path)?)))
}

/// Adds up one directory's entries and queues its subdirectories.
fn measure(
    dir: &Dir,
    here: &Pending,
    linked: &mut HashSet<(u64, u64)>,
    pending: &mut Vec<Pending>,
) -> io::Result<u64> {
    let mut used = 0;
    let device = dir.dir_metadata()?.dev();
    for entry in dir.entries()? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if passes_by(&error) => continue,
            Err(error) => return Err(error),
        };
        if metadata.dev() != device {
            continue;
        }
        if metadata.is_dir() {
            pending.push(Pending { base: here.base, path: here.path.join(entry.file_name()) });
        } else if metadata.nlink() > 1 && !linked.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        used += allocated(&metadata);
    }
    Ok(used)
}

/// The bytes that an entry takes on the host.
pub(super) fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks() * BLOCK
}

/// What a tree that changes while it is walked may answer, and what is not ours to read.
fn passes_by(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::EACCES | Errno::EPERM)
    )
}
