//! Finding one's way through a tree of any depth, with few descriptors and no path that grows with it.

use crate::sys::open_subdirectory;
use crate::volume_fs::dir_from;
use cap_std::fs::Dir;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a path from one base may grow, in bytes, before a new base is taken.
const REACH: usize = 512;

/// How many bases are open at once, however deep the tree.
const HELD: usize = 32;

/// Where a directory is: a path from the base of that index.
#[derive(Clone, Debug, Default)]
pub struct DirPos {
    base: usize,
    path: PathBuf,
}

/// A directory on the way to the one that is visited, and its path from the base before it. Opened anew when it is
/// needed again and was closed to save descriptors.
#[derive(Debug)]
struct Anchor {
    path: PathBuf,
    dir: Option<Arc<Dir>>,
}

/// The way from the top, which is always held, to the directory that is visited. Directories are visited depth
/// first; neither links nor other mounts are entered.
#[derive(Debug)]
pub struct DirCursor {
    top: Arc<Dir>,
    bases: Vec<Anchor>,
}

impl DirPos {
    /// Whether it is the top.
    pub fn is_top(&self) -> bool {
        self.base == 0 && self.path.as_os_str().is_empty()
    }

    /// Where the subdirectory of that name is.
    pub fn child(&self, name: &OsStr) -> DirPos {
        DirPos { base: self.base, path: self.path.join(name) }
    }
}

impl DirCursor {
    /// A way that begins at `top`, the default [`DirPos`].
    pub fn from(top: Dir) -> Self {
        DirCursor { top: Arc::new(top), bases: Vec::new() }
    }

    /// Opens a directory. Depth first as we go, every base beyond its own is done with.
    pub fn open(&mut self, next: &DirPos) -> io::Result<Arc<Dir>> {
        self.bases.truncate(next.base);
        let base = self.open_base()?;
        match next.path.as_os_str().is_empty() {
            true => Ok(base),
            false => open_below(&base, &next.path),
        }
    }

    /// The last base; those before it that were closed are opened on the way there, and of all the last
    /// [`HELD`] stay open.
    fn open_base(&mut self) -> io::Result<Arc<Dir>> {
        let open = self.bases.iter().rposition(|base| base.dir.is_some());
        let mut dir = open.and_then(|at| self.bases[at].dir.clone()).unwrap_or_else(|| self.top.clone());
        for at in open.map_or(0, |at| at + 1)..self.bases.len() {
            dir = open_below(&dir, &self.bases[at].path)?;
            self.hold(at, &dir);
        }
        Ok(dir)
    }

    fn hold(&mut self, at: usize, dir: &Arc<Dir>) {
        self.bases[at].dir = Some(dir.clone());
        if let Some(far) = at.checked_sub(HELD) {
            self.bases[far].dir = None;
        }
    }

    /// What the spots of a directory's own subdirectories begin with. A directory that is far from its base
    /// becomes one.
    pub fn base_below(&mut self, here: DirPos, dir: &Arc<Dir>) -> DirPos {
        if here.path.as_os_str().len() <= REACH {
            return here;
        }
        self.bases.push(Anchor { path: here.path, dir: None });
        self.hold(here.base, dir);
        DirPos { base: here.base + 1, path: PathBuf::new() }
    }
}

fn open_below(dir: &Dir, path: &Path) -> io::Result<Arc<Dir>> {
    Ok(Arc::new(dir_from(open_subdirectory(dir.as_fd(), path)?)))
}
