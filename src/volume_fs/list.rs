//! DirListing a directory, or all below it, a batch at a time.

use super::walk::cursor::{DirCursor, DirPos};
use super::walk::visited::VisitedDirs;
use super::{EntryMetadata, VolumePath, VolumeRoot};
use crate::error::{Error, Result};
use crate::model::VolumeName;
use crate::sync::CancelToken;
use cap_std::fs::{Dir, MetadataExt};
use nix::dir::{Dir as Stream, OwningIter};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::libc;
use nix::sys::stat::{Mode, fstatat};
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

/// How many bytes of names a batch has before it is closed.
const BATCH_BYTES: usize = 1 << 20;

/// How many entries a whole listing has at most, and how many bytes of names: what a process has memory for.
const MOST: ListedTotals = ListedTotals { entries: 2_000_000, bytes: 256 << 20 };

/// How large a directory is on disk, in bytes, that is surely read in a few milliseconds.
const SMALL: u64 = 256 << 10;

/// How a directory is listed.
#[derive(Clone, Copy, Debug, Default)]
pub struct ListOptions {
    /// All that is below as well. Links are not followed, mounts not entered, nor directories that are made meanwhile.
    pub recursive: bool,
    /// Each directory's entries by the bytes of their names, for who will have the whole listing in memory: one
    /// that is too long for that is an `EFBIG` error. Otherwise in the order of the file system.
    pub whole: bool,
}

/// Some entries, in columns.
#[derive(Debug, Default)]
pub struct EntryBatch {
    /// For each run of entries of one directory what their paths begin with, then their names, each closed by a NUL.
    pub text: Vec<u8>,
    /// How many entries each run has.
    pub runs: Vec<u32>,
    /// What the entries are.
    pub facts: Vec<EntryMetadata>,
    /// Whether these are the last.
    pub is_last: bool,
}

impl EntryBatch {
    /// The entries with their paths from the volume's root.
    pub fn entries(&self) -> impl Iterator<Item = (PathBuf, EntryMetadata)> {
        let mut texts = self.text.split(|byte| *byte == 0);
        let paths = self.runs.iter().flat_map(move |count| {
            let prefix = texts.next().unwrap_or_default();
            let names: Vec<_> = texts.by_ref().take(*count as usize).collect();
            names.into_iter().map(move |name| PathBuf::from(OsStr::from_bytes(&[prefix, name].concat())))
        });
        paths.zip(self.facts.iter().copied())
    }
}

/// A listing that has begun. It holds descriptors, as many for a tree of any depth, until it is dropped.
///
/// A directory's entries come together, those of its subdirectories after them. What vanishes meanwhile is left out; a
/// directory or an entry that this process may not look at is an error.
#[derive(Debug)]
pub struct DirListing {
    volume: VolumeName,
    options: ListOptions,
    way: DirCursor<Dir>,
    visits: VisitedDirs,
    current: Option<CurrentDir>,
    /// What the paths of the current directory's entries begin with: nothing, or its own path and a slash.
    prefix: Vec<u8>,
    /// The directories around the current one that hold some still to be entered, the outermost first.
    levels: Vec<PendingDir>,
    told: ListedTotals,
    most: ListedTotals,
}

/// How much was told.
#[derive(Clone, Copy, Debug, Default)]
struct ListedTotals {
    entries: usize,
    bytes: usize,
}

/// The directory that is read.
#[derive(Debug)]
struct CurrentDir {
    spot: DirPos,
    dir: Arc<Dir>,
    names: Names,
    /// The names of those to enter, each closed by a NUL.
    subdirectories: Vec<u8>,
}

#[derive(Debug)]
enum Names {
    Streamed(OwningIter),
    /// All names, each closed by a NUL, and where those that were not told yet begin, the last one first.
    Sorted(Vec<u8>, Vec<usize>),
}

/// A directory that was read.
#[derive(Debug)]
struct PendingDir {
    spot: DirPos,
    /// The length of what the paths of its entries begin with.
    prefix: usize,
    /// The names of its subdirectories, each closed by a NUL.
    subdirectories: Vec<u8>,
    /// How much of that was entered.
    entered: usize,
}

impl VolumeRoot {
    /// Begins to list the directory at `path`; a link inside the volume at its end is followed.
    pub fn list(self, path: impl AsRef<OsStr>, options: ListOptions) -> Result<DirListing> {
        let path = VolumePath::parse(path)?;
        let top = self.at("scandir", &path, |dir, rest| dir.open_dir(rest))?;
        let mut way = DirCursor::new(top);
        let opened = CurrentDir::open(&mut way, DirPos::default());
        let current = opened.map_err(|error| self.refused("scandir", &path, error))?;
        Ok(DirListing {
            volume: self.volume,
            options,
            way,
            visits: VisitedDirs::begin(current.dir.as_fd()),
            current: Some(current),
            prefix: path.prefix_of_entries(),
            levels: Vec::new(),
            told: ListedTotals::default(),
            most: MOST,
        })
    }
}

impl DirListing {
    /// Whether all of it will surely be told in a few milliseconds, seeing how large the directory is on disk.
    pub fn is_small(&self) -> bool {
        let size = |reading: &CurrentDir| reading.dir.dir_metadata().map(|found| found.size());
        let size = self.current.as_ref().map(size);
        !self.options.recursive && size.is_some_and(|size| size.is_ok_and(|size| size <= SMALL))
    }

    /// The next `most` entries, or fewer where their names are long. After an error there are none.
    pub fn next(&mut self, most: usize, cancel: &CancelToken) -> Result<EntryBatch> {
        let mut batch = EntryBatch::default();
        let mut begun = false;
        while batch.facts.len() < most && batch.text.len() < BATCH_BYTES {
            cancel.check()?;
            let Some(mut reading) = self.current.take() else {
                if !self.enter_next()? {
                    batch.is_last = true;
                    break;
                }
                begun = false;
                continue;
            };
            if self.options.whole {
                self.sort(&mut reading, cancel)?;
            }
            if !begun {
                batch.begin(&self.prefix);
                begun = true;
            }
            match self.tell(&mut reading, &mut batch, most)? {
                true => self.current = Some(reading),
                false => self.leave(reading),
            }
        }
        self.count(&batch)?;
        Ok(batch)
    }

    /// Tells of some entries of the directory, and whether there are more.
    fn tell(&self, reading: &mut CurrentDir, batch: &mut EntryBatch, most: usize) -> Result<bool> {
        const BETWEEN_LOOKS_AT_THE_SIGNAL: usize = 256;
        let mut name = Vec::new();
        for _ in 0..BETWEEN_LOOKS_AT_THE_SIGNAL.min(most - batch.facts.len()) {
            match reading.names.next_into(&mut name) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(errno) => return Err(self.failed("scandir", None, errno)),
            }
            let entry = CStr::from_bytes_until_nul(&name).unwrap_or_default();
            match fstatat(&reading.dir, entry, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(found) => {
                    if self.options.recursive && found.st_mode & libc::S_IFMT == libc::S_IFDIR {
                        reading.subdirectories.extend_from_slice(&name);
                    }
                    batch.add(&name, EntryMetadata::of(&found));
                }
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(self.failed("lstat", Some(entry), errno)),
            }
        }
        Ok(true)
    }

    /// Opens the next directory; none where all were.
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
            let opened = CurrentDir::open(&mut self.way, level.spot.child(OsStr::from_bytes(name)));
            let entered =
                opened.and_then(|it| Ok(self.visits.try_visit(&it.dir.dir_metadata()?)?.then_some(it)));
            match entered {
                Ok(Some(reading)) => {
                    self.current = Some(reading);
                    return Ok(true);
                }
                Ok(None) => {}
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    // Gone, swapped, or a mount.
                    Some(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV) => {}
                    errno => return Err(self.failed("scandir", None, errno.unwrap_or(Errno::EIO))),
                },
            }
        }
        Ok(false)
    }

    fn leave(&mut self, reading: CurrentDir) {
        // Those that have no more to enter go now, so that a chain of directories takes no memory.
        while self.levels.last().is_some_and(|level| level.entered == level.subdirectories.len()) {
            self.levels.pop();
        }
        self.levels.push(PendingDir {
            spot: reading.spot,
            prefix: self.prefix.len(),
            subdirectories: reading.subdirectories,
            entered: 0,
        });
    }

    /// Reads all names of a directory, if that was not done yet.
    fn sort(&self, reading: &mut CurrentDir, cancel: &CancelToken) -> Result<()> {
        if matches!(reading.names, Names::Sorted(..)) {
            return Ok(());
        }
        let (mut names, mut begins, mut name) = (Vec::new(), Vec::new(), Vec::new());
        while reading.names.next_into(&mut name).map_err(|errno| self.failed("scandir", None, errno))? {
            begins.push(names.len());
            names.extend_from_slice(&name);
            if begins.len() % 1024 == 0 {
                cancel.check()?;
                self.check(ListedTotals { entries: begins.len(), bytes: names.len() })?;
            }
        }
        // Two names differ at the NUL that closes one of them if not before, and a NUL is less than any other byte.
        begins.sort_unstable_by(|one, other| names[*other..].cmp(&names[*one..]));
        reading.names = Names::Sorted(names, begins);
        Ok(())
    }

    fn count(&mut self, batch: &EntryBatch) -> Result<()> {
        self.check(ListedTotals { entries: batch.facts.len(), bytes: batch.text.len() })?;
        self.told.entries += batch.facts.len();
        self.told.bytes += batch.text.len();
        Ok(())
    }

    /// Refuses to tell this much more, where somebody will have the whole listing in memory.
    fn check(&self, more: ListedTotals) -> Result<()> {
        let ListedTotals { entries, bytes } = self.most;
        let fits = self.told.entries + more.entries <= entries && self.told.bytes + more.bytes <= bytes;
        if fits || !self.options.whole {
            return Ok(());
        }
        let problem = format!(
            "more than {entries} entries, or {bytes} bytes of names, are not listed at once; iterate over them"
        );
        let error = Error::file_system_because("scandir", &self.path(None), Errno::EFBIG, &problem);
        Err(error.in_volume(self.volume.as_str()))
    }

    fn failed(&self, syscall: &'static str, entry: Option<&CStr>, errno: Errno) -> Error {
        Error::file_system(syscall, self.path(entry), errno.into()).in_volume(self.volume.as_str())
    }

    /// The path of the current directory or of an entry of it, for messages.
    fn path(&self, entry: Option<&CStr>) -> String {
        let mut path = self.prefix.clone();
        match entry {
            Some(name) => path.extend_from_slice(name.to_bytes()),
            None => path.truncate(path.len().saturating_sub(1)),
        }
        String::from_utf8_lossy(&path).into_owned()
    }
}

impl CurrentDir {
    fn open(way: &mut DirCursor<Dir>, spot: DirPos) -> io::Result<Self> {
        const FLAGS: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
        let dir = way.open(&spot)?;
        let stream = Stream::openat(&dir, ".", FLAGS, Mode::empty())?;
        let names = Names::Streamed(stream.into_iter());
        Ok(CurrentDir { spot: way.anchor_below(spot, &dir), dir, names, subdirectories: Vec::new() })
    }
}

impl Names {
    /// Puts the next name and a NUL into `name`; false where there is none.
    fn next_into(&mut self, name: &mut Vec<u8>) -> nix::Result<bool> {
        name.clear();
        match self {
            Names::Streamed(stream) => loop {
                let Some(entry) = stream.next().transpose()? else { return Ok(false) };
                if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                    name.extend_from_slice(entry.file_name().to_bytes_with_nul());
                    return Ok(true);
                }
            },
            Names::Sorted(names, begins) => {
                let Some(begin) = begins.pop() else { return Ok(false) };
                let found = names[begin..].split_inclusive(|byte| *byte == 0).next();
                name.extend_from_slice(found.unwrap_or_default());
                Ok(true)
            }
        }
    }
}

impl EntryBatch {
    fn begin(&mut self, prefix: &[u8]) {
        self.text.extend_from_slice(prefix);
        self.text.push(0);
        self.runs.push(0);
    }

    fn add(&mut self, name: &[u8], facts: EntryMetadata) {
        self.text.extend_from_slice(name);
        self.facts.push(facts);
        if let Some(run) = self.runs.last_mut() {
            *run += 1;
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes the tree that it lists")]
mod tests {
    use super::*;

    fn listing(whole: bool, most: ListedTotals) -> (tempfile::TempDir, DirListing) {
        let root = tempfile::tempdir().unwrap();
        for name in ["a", "b", "d"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join("file"), "").unwrap();
        }
        let opened = std::fs::File::open(root.path()).unwrap();
        let tree = VolumeRoot::new(VolumeName::parse("v").unwrap(), opened.into());
        let mut listing = tree.list("", ListOptions { recursive: true, whole }).unwrap();
        listing.most = most;
        (root, listing)
    }

    fn last(listing: &mut DirListing) -> Result<usize> {
        let mut told = 0;
        loop {
            let batch = listing.next(2, &CancelToken::default())?;
            assert!(batch.facts.len() <= 2);
            told += batch.entries().count();
            if batch.is_last {
                return Ok(told);
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
            let told = last(&mut listing).map_err(|error| error.code());
            assert_eq!(told, expected, "{entries} entries, {bytes} bytes, whole: {whole}");
        }
    }
}
