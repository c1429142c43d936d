//! The way from the two tops to a directory of both sides, with few descriptors however deep it is.

use super::endpoint::{EndpointResult, EndpointSide};
use crate::sys::open_subdirectory;
use nix::errno::Errno;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How long a path from one base may grow, in bytes, before a new base is taken.
const REACH: usize = 512;

/// How many bases are open at once, however deep the tree.
const HELD: usize = 32;

/// The same directory on both sides.
#[derive(Debug)]
pub struct DirPair {
    pub from: OwnedFd,
    pub to: OwnedFd,
}

/// Where a directory is: a path from the base of that index.
#[derive(Clone, Debug)]
pub struct PairPos {
    base: usize,
    path: PathBuf,
}

/// A directory on the way, and its path from the base before it. Opened anew when it is needed again and was closed
/// to save descriptors.
#[derive(Debug)]
struct PairAnchor {
    path: PathBuf,
    pair: Option<Arc<DirPair>>,
}

/// Depth first, every base beyond a directory's own is done with.
#[derive(Debug)]
pub struct PairCursor {
    top: Arc<DirPair>,
    bases: Vec<PairAnchor>,
}

impl PairPos {
    pub fn top() -> Self {
        PairPos { base: 0, path: PathBuf::new() }
    }

    /// Whether opening it leaves the way to `other` as it is.
    pub fn is_as_far_as(&self, other: &PairPos) -> bool {
        self.base >= other.base
    }

    pub fn child(&self, name: impl AsRef<Path>) -> Self {
        PairPos { base: self.base, path: self.path.join(name) }
    }
}

impl PairCursor {
    pub fn new(top: DirPair) -> Self {
        PairCursor { top: Arc::new(top), bases: Vec::new() }
    }

    pub fn open(&mut self, spot: &PairPos) -> EndpointResult<Arc<DirPair>> {
        self.bases.truncate(spot.base);
        let base = self.open_base()?;
        match spot.path.as_os_str().is_empty() {
            true => Ok(base),
            false => open_below(&base, &spot.path),
        }
    }

    /// The path from the top.
    pub fn path_of(&self, spot: &PairPos) -> PathBuf {
        let bases = self.bases.iter().take(spot.base).map(|base| &base.path);
        let mut path = PathBuf::new();
        for part in bases.chain([&spot.path]).filter(|part| !part.as_os_str().is_empty()) {
            path.push(part);
        }
        path
    }

    /// What the spots of a directory's own subdirectories begin with. A directory that is far from its base becomes
    /// one.
    pub fn base_below(&mut self, here: PairPos, pair: &Arc<DirPair>) -> PairPos {
        if here.path.as_os_str().len() <= REACH {
            return here;
        }
        self.bases.push(PairAnchor { path: here.path, pair: None });
        self.hold(here.base, pair);
        PairPos { base: here.base + 1, path: PathBuf::new() }
    }

    /// The last base; those before it that were closed are opened on the way there.
    fn open_base(&mut self) -> EndpointResult<Arc<DirPair>> {
        let open = self.bases.iter().rposition(|base| base.pair.is_some());
        let mut pair = open.and_then(|at| self.bases[at].pair.clone()).unwrap_or_else(|| self.top.clone());
        for at in open.map_or(0, |at| at + 1)..self.bases.len() {
            pair = open_below(&pair, &self.bases[at].path)?;
            self.hold(at, &pair);
        }
        Ok(pair)
    }

    fn hold(&mut self, at: usize, pair: &Arc<DirPair>) {
        self.bases[at].pair = Some(pair.clone());
        if let Some(far) = at.checked_sub(HELD) {
            self.bases[far].pair = None;
        }
    }
}

fn open_below(pair: &DirPair, path: &Path) -> EndpointResult<Arc<DirPair>> {
    let from =
        open_subdirectory(pair.from.as_fd(), path).map_err(|error| (EndpointSide::From, busy(error)))?;
    let to = open_subdirectory(pair.to.as_fd(), path).map_err(|error| (EndpointSide::To, busy(error)))?;
    Ok(Arc::new(DirPair { from, to }))
}

/// What is another mount, or was moved away while it was opened, is not ours to copy: the kernel says the same of both.
pub fn busy(error: io::Error) -> io::Error {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EXDEV) => Errno::EBUSY.into(),
        _ => error,
    }
}
