//! Measures how much space a volume takes.

use super::estimate::BLOCK;
use crate::error::{Errno, Error, Result};
use crate::sync::CancelToken;
use crate::sys::fd::AsFd;
use crate::sys::{EntryKind, EntryReader, FileId, FileStat, STAT_BLOCK, stat_at};
use crate::volume_fs::VolumeRoot;
use crate::volume_fs::walk::cursor::{DirCursor, DirPos};
use crate::volume_fs::walk::visited::VisitedDirs;
use cap_std::fs::{Dir, Metadata, MetadataExt};
use std::collections::HashSet;
use std::io;

/// The inode number of the root directory of every btrfs subvolume.
const SUBVOLUME_ROOT_INODE: u64 = 256;

/// How many entries are measured between two checks of the abort signal.
const MAX_ENTRIES_PER_CHECK: u64 = 64;

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The bytes allocated on the host.
    pub bytes: u64,
    /// The number of entries.
    pub entries: u64,
}

impl VolumeRoot {
    /// Returns the bytes allocated on the host for the root and all entries below it. Counts a hard link once, and a
    /// sparse file by its blocks. Follows no links and enters no mounts. Skips what is removed during the walk and what
    /// this process may not read. Skips the content of directories created since the walk began.
    pub fn used_bytes(&self, cancel: &CancelToken) -> Result<u64> {
        self.measure(cancel).map(|usage| usage.bytes)
    }

    /// Returns the bytes, like [`VolumeRoot::used_bytes`], and the number of entries.
    pub(crate) fn measure(&self, cancel: &CancelToken) -> Result<Usage> {
        let io_error = |error| Error::file_system("scandir", ".", error).in_volume(self.volume.as_str());
        let root = self.root.try_clone().map_err(io_error)?;
        let bytes = FileStat::of(root.as_fd()).map_err(io_error)?.allocated();
        let used = Usage { bytes, entries: 1 };
        let mut visited = VisitedDirs::begin(root.as_fd());
        let mut cursor = DirCursor::new(root);
        let mut walk = UsageWalk { used, linked: HashSet::new(), pending: vec![DirPos::default()], cancel };
        while let Some(next) = walk.pending.pop() {
            cancel.check()?;
            let is_top = next.is_top();
            let measured = cursor.open(&next).and_then(|dir| {
                let stat = FileStat::of(dir.as_fd())?;
                if !is_top && !visited.try_visit(&stat)? {
                    return Ok(());
                }
                let children = cursor.anchor_below(next, &dir);
                walk.add_entries(&dir, stat.id().device(), &children)
            });
            match measured {
                Ok(()) => {}
                Err(error) if is_skipped(&error) => {}
                Err(error) => return Err(io_error(error)),
            }
        }
        // A cancellation may have cut the last directory short.
        cancel.check()?;
        Ok(walk.used)
    }
}

/// A measurement of a tree in progress.
struct UsageWalk<'c> {
    used: Usage,
    /// The counted files that have other hard links.
    linked: HashSet<FileId>,
    /// The directories to measure.
    pending: Vec<DirPos>,
    cancel: &'c CancelToken,
}

impl UsageWalk<'_> {
    /// Adds up one directory's entries and queues its subdirectories.
    fn add_entries(&mut self, dir: &Dir, device: u64, here: &DirPos) -> io::Result<()> {
        for entry in EntryReader::of(dir.as_fd())? {
            let (name, _) = entry?;
            if self.used.entries.is_multiple_of(MAX_ENTRIES_PER_CHECK) && self.cancel.check().is_err() {
                return Ok(());
            }
            self.used.entries += 1;
            let stat = match stat_at(dir.as_fd(), &name) {
                Ok(stat) => stat,
                Err(error) if is_skipped(&error) => continue,
                Err(error) => return Err(error),
            };
            // A nested subvolume has a device number of its own, and its files count. Opening refuses a mount.
            let is_directory = stat.kind() == EntryKind::Directory;
            let is_subvolume = is_directory && stat.id().inode() == SUBVOLUME_ROOT_INODE;
            if stat.id().device() != device && !is_subvolume {
                continue;
            }
            if is_directory {
                self.pending.push(here.child(name));
            } else if stat.has_other_names() && !self.linked.insert(stat.id()) {
                continue;
            }
            self.used.bytes += stat.allocated();
        }
        Ok(())
    }
}

/// Returns the bytes that an entry takes on the host.
pub(crate) fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks() * STAT_BLOCK
}

/// Returns the bytes of the blocks that writing `length` bytes at offset `at` adds to a file. In a sparse file, the
/// overwritten blocks may be holes.
pub(crate) fn growth(metadata: &Metadata, at: u64, length: u64) -> u64 {
    let whole = metadata.len().next_multiple_of(BLOCK);
    let covered = if allocated(metadata) < whole { 0 } else { whole };
    match length {
        0 => 0,
        _ => (at + length).next_multiple_of(BLOCK).saturating_sub(covered.max(at - at % BLOCK)),
    }
}

/// Returns whether to skip an entry: it changed during the walk, or this process may not read it.
fn is_skipped(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::EACCES | Errno::EPERM)
    )
}
