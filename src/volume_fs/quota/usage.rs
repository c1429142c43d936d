//! How much space a volume takes.

use super::estimate::BLOCK;
use crate::error::{Error, Result};
use crate::sync::CancelToken;
use crate::sys::STAT_BLOCK;
use crate::volume_fs::VolumeRoot;
use crate::volume_fs::walk::cursor::{DirCursor, DirPos};
use crate::volume_fs::walk::visited::VisitedDirs;
use cap_std::fs::{Dir, Metadata, MetadataExt};
use nix::errno::Errno;
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;

/// The number of every root directory of a btrfs subvolume.
const SUBVOLUME_ROOT: u64 = 256;

/// How many entries are looked at between two looks at whether the measuring was cancelled.
const CHECK_EVERY: u64 = 64;

/// What a tree takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// The bytes allocated on the host.
    pub bytes: u64,
    /// How many entries were looked at.
    pub entries: u64,
}

impl VolumeRoot {
    /// The bytes allocated on the host for all entries below and including the root: a hard link counted once,
    /// sparse files as they are, links not followed and mounts not entered. What vanishes meanwhile is not
    /// counted, nor is what this process may not read, or what directories hold that are made meanwhile.
    pub fn used_bytes(&self, cancel: &CancelToken) -> Result<u64> {
        self.measure(cancel).map(|usage| usage.bytes)
    }

    /// The same, and how much there was to look at.
    pub(crate) fn measure(&self, cancel: &CancelToken) -> Result<Usage> {
        let failed = |error| Error::file_system("scandir", ".", error).in_volume(self.volume.as_str());
        let root = self.root.try_clone().map_err(failed)?;
        let mut used = Usage { bytes: allocated(&root.dir_metadata().map_err(failed)?), entries: 1 };
        let mut linked = HashSet::new();
        let mut visits = VisitedDirs::begin(root.as_fd());
        let mut way = DirCursor::new(root);
        let mut pending = vec![DirPos::default()];
        while let Some(next) = pending.pop() {
            cancel.check()?;
            let is_top = next.is_top();
            let measured = way.open(&next).and_then(|dir| {
                let facts = dir.dir_metadata()?;
                if !is_top && !visits.try_visit(&facts)? {
                    return Ok(());
                }
                let children = way.anchor_below(next, &dir);
                measure(&dir, facts.dev(), &children, &mut linked, &mut pending, &mut used, cancel)
            });
            match measured {
                Ok(()) => {}
                Err(error) if passes_by(&error) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        // Which may have cut the last directory short.
        cancel.check()?;
        Ok(used)
    }
}

/// Adds up one directory's entries and queues its subdirectories.
fn measure(
    dir: &Dir,
    device: u64,
    here: &DirPos,
    linked: &mut HashSet<(u64, u64)>,
    pending: &mut Vec<DirPos>,
    used: &mut Usage,
    cancel: &CancelToken,
) -> io::Result<()> {
    for entry in dir.entries()? {
        let entry = entry?;
        if used.entries.is_multiple_of(CHECK_EVERY) && cancel.check().is_err() {
            return Ok(());
        }
        used.entries += 1;
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if passes_by(&error) => continue,
            Err(error) => return Err(error),
        };
        // A subvolume within has a device number of its own, and its files count. A mount is refused when opened.
        let is_subvolume = metadata.is_dir() && metadata.ino() == SUBVOLUME_ROOT;
        if metadata.dev() != device && !is_subvolume {
            continue;
        }
        if metadata.is_dir() {
            pending.push(here.child(&entry.file_name()));
        } else if metadata.nlink() > 1 && !linked.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        used.bytes += allocated(&metadata);
    }
    Ok(())
}

/// The bytes that an entry takes on the host.
pub(crate) fn allocated(metadata: &Metadata) -> u64 {
    metadata.blocks() * STAT_BLOCK
}

/// The bytes of the blocks that writing `length` bytes at the position `at` adds to a file. What is written over may be
/// a hole where there are some.
pub(crate) fn growth(metadata: &Metadata, at: u64, length: u64) -> u64 {
    let whole = metadata.len().next_multiple_of(BLOCK);
    let covered = if allocated(metadata) < whole { 0 } else { whole };
    match length {
        0 => 0,
        _ => (at + length).next_multiple_of(BLOCK).saturating_sub(covered.max(at - at % BLOCK)),
    }
}

/// What a tree that changes while it is walked may answer, and what is not ours to read.
fn passes_by(error: &io::Error) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    matches!(
        errno,
        Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV | Errno::EACCES | Errno::EPERM)
    )
}
