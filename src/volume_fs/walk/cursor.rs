//! Depth-first traversal that keeps a bounded number of directories open. No path that it opens grows with depth.

use crate::sys::fd::AsFd;
use crate::sys::open_subdirectory;
use crate::volume_fs::dir_from;
use cap_std::fs::Dir;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The longest path from an anchor, in bytes, before the directory there becomes an anchor itself.
const MAX_PATH_FROM_ANCHOR_BYTES: usize = 512;

/// The most anchors that are open at once, at any depth.
const MAX_OPEN_ANCHORS: usize = 32;

/// What a cursor holds open for one directory: a descriptor, or one in each of several trees.
pub trait WalkHandle: Sized {
    /// Why a directory could not be opened.
    type Error;

    /// Opens the directory at `path` below this one. Follows no link and enters no mount.
    fn open_below(&self, path: &Path) -> Result<Self, Self::Error>;
}

impl WalkHandle for Dir {
    type Error = io::Error;

    fn open_below(&self, path: &Path) -> io::Result<Self> {
        open_subdirectory(self.as_fd(), path).map(dir_from)
    }
}

/// The position of a directory: the index of an anchor (0 is the top), and the path from it.
#[derive(Clone, Debug, Default)]
pub struct DirPos {
    anchor: usize,
    path: PathBuf,
}

impl DirPos {
    /// Returns whether this is the top.
    pub fn is_top(&self) -> bool {
        self.anchor == 0 && self.path.as_os_str().is_empty()
    }

    /// Returns the position of the subdirectory `name`.
    pub fn child(&self, name: impl AsRef<Path>) -> DirPos {
        DirPos { anchor: self.anchor, path: self.path.join(name) }
    }

    /// Returns whether opening this directory leaves the anchors of `other` as they are.
    pub fn keeps_anchors_of(&self, other: &DirPos) -> bool {
        self.anchor >= other.anchor
    }
}

/// The path of a directory from the top. Paths share what is above their anchor, so that each takes little memory.
#[derive(Clone, Debug, Default)]
pub struct TreePath {
    above: Option<Arc<AnchorPath>>,
    /// The path from the anchor.
    rest: PathBuf,
}

/// The path of an anchor: from the anchor before it, which has a path of its own.
#[derive(Debug)]
struct AnchorPath {
    above: Option<Arc<AnchorPath>>,
    path: PathBuf,
}

impl TreePath {
    /// Builds the whole path, empty for the top. The time that this takes grows with depth.
    pub fn to_path_buf(&self) -> PathBuf {
        let mut parts = vec![self.rest.as_path()];
        let mut above = self.above.as_deref();
        while let Some(anchor) = above {
            parts.push(&anchor.path);
            above = anchor.above.as_deref();
        }
        let parts = parts.into_iter().rev();
        parts.filter(|part| !part.as_os_str().is_empty()).collect()
    }

    /// Builds the whole path of the entry `name` of the directory.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.to_path_buf().join(name)
    }
}

impl Drop for AnchorPath {
    /// Drops the paths above one by one: recursion would overflow the stack in a very deep tree.
    fn drop(&mut self) {
        let mut above = self.above.take();
        while let Some(mut anchor) = above.and_then(Arc::into_inner) {
            above = anchor.above.take();
        }
    }
}

/// A directory between the top and the one that is visited. It is closed to save descriptors, and opened again on
/// demand.
#[derive(Debug)]
struct Anchor<H> {
    path: Arc<AnchorPath>,
    dir: Option<Arc<H>>,
}

/// The anchors between the top, which stays open, and the directory that is visited. The caller visits depth first.
#[derive(Debug)]
pub struct DirCursor<H> {
    top: Arc<H>,
    anchors: Vec<Anchor<H>>,
}

impl<H: WalkHandle> DirCursor<H> {
    /// Creates a cursor at `top`, whose position is the default [`DirPos`].
    pub fn new(top: H) -> Self {
        DirCursor { top: Arc::new(top), anchors: Vec::new() }
    }

    /// Opens the directory at `pos`. Drops the anchors beyond its own, which a depth-first walk no longer needs.
    pub fn open(&mut self, pos: &DirPos) -> Result<Arc<H>, H::Error> {
        self.anchors.truncate(pos.anchor);
        let anchor = self.open_anchor()?;
        match pos.path.as_os_str().is_empty() {
            true => Ok(anchor),
            false => anchor.open_below(&pos.path).map(Arc::new),
        }
    }

    /// Returns the path of the directory at `pos`, whose anchor is still there.
    pub fn path_of(&self, pos: &DirPos) -> TreePath {
        TreePath { above: self.anchor_path(pos.anchor), rest: pos.path.clone() }
    }

    /// Returns the position from which the subdirectories of the open directory `dir` are named. Makes the directory an
    /// anchor if it is far from its own.
    pub fn anchor_below(&mut self, pos: DirPos, dir: &Arc<H>) -> DirPos {
        if pos.path.as_os_str().len() <= MAX_PATH_FROM_ANCHOR_BYTES {
            return pos;
        }
        let path = Arc::new(AnchorPath { above: self.anchor_path(pos.anchor), path: pos.path });
        self.anchors.push(Anchor { path, dir: None });
        self.keep_open(pos.anchor, dir);
        DirPos { anchor: pos.anchor + 1, path: PathBuf::new() }
    }

    /// Returns the path of the anchor with the index `anchor`; `None` for the top.
    fn anchor_path(&self, anchor: usize) -> Option<Arc<AnchorPath>> {
        let last = anchor.checked_sub(1).and_then(|last| self.anchors.get(last));
        last.map(|anchor| anchor.path.clone())
    }

    /// Opens the last anchor, and those before it that were closed. The last [`MAX_OPEN_ANCHORS`] of them stay open.
    fn open_anchor(&mut self) -> Result<Arc<H>, H::Error> {
        let open = self.anchors.iter().rposition(|anchor| anchor.dir.is_some());
        let mut dir = open.and_then(|at| self.anchors[at].dir.clone()).unwrap_or_else(|| self.top.clone());
        for at in open.map_or(0, |at| at + 1)..self.anchors.len() {
            dir = Arc::new(dir.open_below(&self.anchors[at].path.path)?);
            self.keep_open(at, &dir);
        }
        Ok(dir)
    }

    fn keep_open(&mut self, at: usize, dir: &Arc<H>) {
        self.anchors[at].dir = Some(dir.clone());
        if let Some(far) = at.checked_sub(MAX_OPEN_ANCHORS) {
            self.anchors[far].dir = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree without end in which every directory can be opened.
    struct Endless;

    impl WalkHandle for Endless {
        type Error = io::Error;

        fn open_below(&self, _: &Path) -> io::Result<Self> {
            Ok(Endless)
        }
    }

    #[test]
    fn the_path_of_a_deep_directory_shares_what_is_above_its_anchor() {
        let mut cursor = DirCursor::new(Endless);
        let (mut pos, mut expected) = (DirPos::default(), PathBuf::new());
        for depth in 0..1_000 {
            let dir = cursor.open(&pos).unwrap();
            let path = cursor.path_of(&pos);
            let name = format!("directory-{depth}");
            assert_eq!(path.to_path_buf(), expected);
            assert_eq!(path.join(&name), expected.join(&name));
            assert!(path.rest.as_os_str().len() <= MAX_PATH_FROM_ANCHOR_BYTES + 1 + name.len());
            pos = cursor.anchor_below(pos, &dir).child(&name);
            expected.push(name);
        }
        assert!(pos.anchor > MAX_OPEN_ANCHORS / 2);
        // A path outlives the anchors that the cursor drops on its way back.
        let path = cursor.path_of(&pos);
        cursor.open(&DirPos::default()).unwrap();
        assert_eq!(path.to_path_buf(), expected);
    }

    #[test]
    fn a_very_long_path_is_dropped_without_recursion() {
        let longer = |above, _| Some(Arc::new(AnchorPath { above, path: PathBuf::new() }));
        let above = (0..1_000_000).fold(None, longer);
        drop(TreePath { above, rest: PathBuf::new() });
    }
}
