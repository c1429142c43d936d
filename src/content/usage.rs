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

/// How long a path from one held descriptor may grow before a new one is held. A deep tree then costs one
/// descriptor per this many bytes of path instead of one per level.
const REACH: usize = 2048;

/// A directory still to be measured: a held one, and the path from there.
struct Pending {
    base: Rc<Dir>,
    path: PathBuf,
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
        let mut pending = vec![Pending { base: root, path: PathBuf::new() }];
        while let Some(next) = pending.pop() {
            cancel.check()?;
            match next.open() {
                Ok(dir) => used += measure(&next, dir, &mut linked, &mut pending).map_err(failed)?,
                Err(error) if passes_by(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(used)
    }
}

impl Pending {
    fn open(&self) -> io::Result<Rc<Dir>> {
        match self.path.as_os_str().is_empty() {
            true => Ok(self.base.clone()),
            false => Ok(Rc::new(dir_from(open_subdirectory(self.base.as_fd(), &self.path)?))),
        }
    }

    /// The directory `name` in this one, of which `dir` is the open descriptor.
    fn child(&self, dir: &Rc<Dir>, name: &Path) -> Pending {
        match self.path.as_os_str().len() + name.as_os_str().len() > REACH {
            true => Pending { base: dir.clone(), path: name.to_owned() },
            false => Pending { base: self.base.clone(), path: self.path.join(name) },
        }
    }
}

/// Adds up one directory's entries and queues its subdirectories.
fn measure(
    here: &Pending,
    dir: Rc<Dir>,
    linked: &mut HashSet<(u64, u64)>,
    pending: &mut Vec<Pending>,
) -> io::Result<u64> {
    let mut used = 0;
    for entry in dir.entries()? {
        let entry = entry?;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if passes_by(&error) => continue,
            Err(error) => return Err(error),
        };
        if metadata.is_dir() {
            pending.push(here.child(&dir, Path::new(&entry.file_name())));
        } else if metadata.nlink() > 1 && !linked.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        used += allocated(&metadata);
    }
    Ok(used)
}

fn allocated(metadata: &Metadata) -> u64 {
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
