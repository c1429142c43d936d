//! Lists a directory, or all entries below it, one batch at a time.

use super::entry_batch::EntryBatch;
use super::walk::cursor::{DirCursor, DirPos};
use super::walk::visited::VisitedDirs;
use super::{EntryMetadata, VolumePath, VolumeRoot};
use crate::error::{Errno, Error, Result};
use crate::model::VolumeName;
use crate::sync::CancelToken;
use crate::sys::ext::OsStrExt;
use crate::sys::fd::AsFd;
use crate::sys::{EntryKind, EntryReader, FileStat, stat_at};
use cap_std::fs::{Dir, MetadataExt};
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// The length in bytes of the names in a batch after which it is closed.
const MAX_BATCH_BYTES: usize = 1 << 20;

/// The most entries and bytes of names of a whole listing, which the caller holds in memory.
const MAX_WHOLE_LISTING: ListedTotals = ListedTotals { entries: 2_000_000, bytes: 256 << 20 };

/// The size on disk, in bytes, of a directory that is certain to be read in a few milliseconds.
const SMALL_DIR_BYTES: u64 = 256 << 10;

/// How to list a directory.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions {
    /// Lists the entries of all subdirectories as well. Follows no links, enters no mounts, and enters no directories
    /// that are created after the listing began.
    pub recursive: bool,
    /// Sorts each directory's entries by the bytes of their names, for a caller that holds the listing in memory. Fails
    /// with `EFBIG` if the listing is too long for that. Otherwise the order is that of the file system.
    pub whole: bool,
}

/// A listing in progress. It holds descriptors until it is dropped; their number does not depend on the depth of the
/// tree.
///
/// The entries of a directory come together, and those of its subdirectories after them. Skips entries that are removed
/// during the listing. Fails on a directory or entry that this process may not read.
#[derive(Debug)]
pub struct DirListing {
    volume: VolumeName,
    options: ListOptions,
    cursor: DirCursor<Dir>,
    visited: VisitedDirs,
    current: Option<CurrentDir>,
    /// The prefix of the paths of the current directory's entries: empty, or the directory's path and a slash.
    prefix: Vec<u8>,
    /// The directories above the current one that have subdirectories still to be entered, the outermost first.
    levels: Vec<PendingDir>,
    listed: ListedTotals,
    max: ListedTotals,
}

/// How much was listed.
#[derive(Clone, Copy, Debug, Default)]
struct ListedTotals {
    entries: usize,
    bytes: usize,
}

/// The directory that is read.
#[derive(Debug)]
struct CurrentDir {
    pos: DirPos,
    dir: Arc<Dir>,
    names: Names,
    /// The names of the subdirectories to enter, each ended by a NUL.
    subdirectories: Vec<u8>,
}

#[derive(Debug)]
enum Names {
    Streamed(EntryReader),
    /// All names, each ended by a NUL, and the offsets of those not listed yet, the last one first.
    Sorted(Vec<u8>, Vec<usize>),
}

/// A directory that was read.
#[derive(Debug)]
struct PendingDir {
    pos: DirPos,
    /// The length of the prefix of its entries' paths.
    prefix: usize,
    /// The names of its subdirectories, each ended by a NUL.
    subdirectories: Vec<u8>,
    /// How many bytes of these names were entered.
    entered: usize,
}

impl VolumeRoot {
    /// Begins to list the directory at `path`. Follows a final link that stays inside the volume.
    pub fn list(self, path: &VolumePath, options: ListOptions) -> Result<DirListing> {
        let top = self.at("scandir", path, |dir, rest| dir.open_dir(rest))?;
        let mut cursor = DirCursor::new(top);
        let opened = CurrentDir::open(&mut cursor, DirPos::default());
        let current = opened.map_err(|error| self.io_error("scandir", path, error))?;
        Ok(DirListing {
            volume: self.volume,
            options,
            cursor,
            visited: VisitedDirs::begin(current.dir.as_fd()),
            current: Some(current),
            prefix: path.entries_prefix(),
            levels: Vec::new(),
            listed: ListedTotals::default(),
            max: MAX_WHOLE_LISTING,
        })
    }
}

impl DirListing {
    /// Returns whether the whole listing is certain to take only a few milliseconds, judged by the directory's size on
    /// disk.
    pub fn is_small(&self) -> bool {
        let size = |current: &CurrentDir| current.dir.dir_metadata().map(|found| found.size());
        let size = self.current.as_ref().map(size);
        !self.options.recursive && size.is_some_and(|size| size.is_ok_and(|size| size <= SMALL_DIR_BYTES))
    }

    /// Returns the next `max` entries, or fewer if their names are long. Returns no more entries after an error.
    pub fn next(&mut self, max: usize, cancel: &CancelToken) -> Result<EntryBatch> {
        let mut batch = EntryBatch::default();
        let mut has_begun = false;
        while batch.metadata.len() < max && batch.text.len() < MAX_BATCH_BYTES {
            cancel.check()?;
            let Some(mut current) = self.current.take() else {
                if !self.enter_next()? {
                    batch.is_last = true;
                    break;
                }
                has_begun = false;
                continue;
            };
            if self.options.whole {
                self.sort(&mut current, cancel)?;
            }
            if !has_begun {
                batch.begin_run(&self.prefix);
                has_begun = true;
            }
            match self.read_entries(&mut current, &mut batch, max)? {
                true => self.current = Some(current),
                false => self.finish_dir(current),
            }
        }
        self.count(&batch)?;
        Ok(batch)
    }

    /// Reads some entries of the directory. Returns whether there are more.
    fn read_entries(&self, current: &mut CurrentDir, batch: &mut EntryBatch, max: usize) -> Result<bool> {
        const MAX_ENTRIES_PER_CHECK: usize = 256;
        let mut name = Vec::new();
        for _ in 0..MAX_ENTRIES_PER_CHECK.min(max - batch.metadata.len()) {
            match current.names.next_into(&mut name) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(error) => return Err(self.io_error("scandir", None, error)),
            }
            let entry = OsStr::from_bytes(name.strip_suffix(b"\0").unwrap_or(&name));
            match stat_at(current.dir.as_fd(), entry) {
                Ok(found) => {
                    if self.options.recursive && found.kind() == EntryKind::Directory {
                        current.subdirectories.extend_from_slice(&name);
                    }
                    batch.add(&name, EntryMetadata::of(&found));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(self.io_error("lstat", Some(entry), error)),
            }
        }
        Ok(true)
    }

    /// Opens the next directory. Returns `false` if all were opened.
    fn enter_next(&mut self) -> Result<bool> {
        while let Some(level) = self.levels.last_mut() {
            let left = &level.subdirectories[level.entered..];
            let Some(end) = left.iter().position(|byte| *byte == 0) else {
                self.levels.pop();
                continue;
            };
            let name = &left[..end];
            level.entered += end + 1;
            self.prefix.truncate(level.prefix);
            self.prefix.extend_from_slice(name);
            self.prefix.push(b'/');
            let opened = CurrentDir::open(&mut self.cursor, level.pos.child(OsStr::from_bytes(name)));
            let entered = opened
                .and_then(|it| Ok(self.visited.try_visit(&FileStat::of(it.dir.as_fd())?)?.then_some(it)));
            match entered {
                Ok(Some(current)) => {
                    self.current = Some(current);
                    return Ok(true);
                }
                Ok(None) => {}
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    // TOCTOU: the directory was removed or replaced since its name was read, or it is a mount.
                    Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {}
                    _ => return Err(self.io_error("scandir", None, error)),
                },
            }
        }
        Ok(false)
    }

    fn finish_dir(&mut self, current: CurrentDir) {
        // Drops the directories that have nothing left to enter, so that a chain of directories takes no memory.
        while self.levels.last().is_some_and(|level| level.entered == level.subdirectories.len()) {
            self.levels.pop();
        }
        self.levels.push(PendingDir {
            pos: current.pos,
            prefix: self.prefix.len(),
            subdirectories: current.subdirectories,
            entered: 0,
        });
    }

    /// Reads and sorts all names of a directory, unless that is done already.
    fn sort(&self, current: &mut CurrentDir, cancel: &CancelToken) -> Result<()> {
        if matches!(current.names, Names::Sorted(..)) {
            return Ok(());
        }
        let (mut names, mut begins, mut name) = (Vec::new(), Vec::new(), Vec::new());
        while current.names.next_into(&mut name).map_err(|error| self.io_error("scandir", None, error))? {
            begins.push(names.len());
            names.extend_from_slice(&name);
            if begins.len() % 1024 == 0 {
                cancel.check()?;
                self.check_totals(ListedTotals { entries: begins.len(), bytes: names.len() })?;
            }
        }
        // Two names differ at the latest at the NUL that ends one of them. A NUL is less than any other byte.
        begins.sort_unstable_by(|one, other| names[*other..].cmp(&names[*one..]));
        current.names = Names::Sorted(names, begins);
        Ok(())
    }

    fn count(&mut self, batch: &EntryBatch) -> Result<()> {
        self.check_totals(ListedTotals { entries: batch.metadata.len(), bytes: batch.text.len() })?;
        self.listed.entries += batch.metadata.len();
        self.listed.bytes += batch.text.len();
        Ok(())
    }

    /// Fails with `EFBIG` if `more` would exceed the limits of a listing that the caller holds in memory.
    fn check_totals(&self, more: ListedTotals) -> Result<()> {
        let ListedTotals { entries, bytes } = self.max;
        let fits = self.listed.entries + more.entries <= entries && self.listed.bytes + more.bytes <= bytes;
        if fits || !self.options.whole {
            return Ok(());
        }
        let problem = format!(
            "more than {entries} entries, or {bytes} bytes of names, are not listed at once; iterate over them"
        );
        let error = Error::file_system_because("scandir", &self.path(None), Errno::EFBIG, &problem);
        Err(error.in_volume(self.volume.as_str()))
    }

    fn io_error(&self, syscall: &'static str, entry: Option<&OsStr>, error: io::Error) -> Error {
        Error::file_system(syscall, self.path(entry), error).in_volume(self.volume.as_str())
    }

    /// Returns the path of the current directory or of one of its entries, for messages.
    fn path(&self, entry: Option<&OsStr>) -> String {
        let mut path = self.prefix.clone();
        match entry {
            Some(name) => path.extend_from_slice(name.as_bytes()),
            None => path.truncate(path.len().saturating_sub(1)),
        }
        String::from_utf8_lossy(&path).into_owned()
    }
}

impl CurrentDir {
    fn open(cursor: &mut DirCursor<Dir>, pos: DirPos) -> io::Result<Self> {
        let dir = cursor.open(&pos)?;
        let names = Names::Streamed(EntryReader::of(dir.as_fd())?);
        Ok(CurrentDir { pos: cursor.anchor_below(pos, &dir), dir, names, subdirectories: Vec::new() })
    }
}

impl Names {
    /// Stores the next name and a NUL in `name`. Returns `false` if there is no next name.
    fn next_into(&mut self, name: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Names::Streamed(reader) => reader.next_name_into(name),
            Names::Sorted(names, begins) => {
                name.clear();
                let Some(begin) = begins.pop() else { return Ok(false) };
                let found = names[begin..].split_inclusive(|byte| *byte == 0).next();
                name.extend_from_slice(found.unwrap_or_default());
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes the tree that it lists")]
mod tests {
    use super::*;

    fn listing(whole: bool, max: ListedTotals) -> (tempfile::TempDir, DirListing) {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "d"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join("file"), "").unwrap();
        }
        let opened = std::fs::File::open(root.path()).unwrap();
        let tree = VolumeRoot::new(VolumeName::parse("v").unwrap(), opened.into());
        let mut listing =
            tree.list(&VolumePath::parse("").unwrap(), ListOptions { recursive: true, whole }).unwrap();
        listing.max = max;
        (root, listing)
    }

    fn last(listing: &mut DirListing) -> Result<usize> {
        let mut listed = 0;
        loop {
            let batch = listing.next(2, &CancelToken::default())?;
            assert!(batch.metadata.len() <= 2);
            listed += batch.entries().count();
            if batch.is_last {
                return Ok(listed);
            }
        }
    }

    #[test]
    fn a_whole_listing_is_as_long_as_there_is_memory_for_and_any_other_as_long_as_the_tree() {
        for (entries, bytes, whole, expected) in [
            (6, 1000, true, Ok(6)),
            (5, 1000, true, Err("EFBIG".to_owned())),
            (6, 10, true, Err("EFBIG".to_owned())),
            (5, 10, false, Ok(6)),
        ] {
            let (_root, mut listing) = listing(whole, ListedTotals { entries, bytes });
            let listed = last(&mut listing).map_err(|error| error.code());
            assert_eq!(listed, expected, "{entries} entries, {bytes} bytes, whole: {whole}");
        }
    }
}
