//! Decides which directories a walk visits: those that existed when it began. A visited directory that is moved ahead
//! of the walk is visited once more, with what is below it. It is never visited a third time. So the walk ends, even if
//! a guest keeps creating or moving directories.

use crate::error::Errno;
use crate::sys::fd::BorrowedFd;
use crate::sys::{FileId, FileStat, has_birth_times};
use std::collections::HashSet;
use std::io;
use std::time::{Duration, SystemTime};

/// How far the timestamps of a file system may be behind the clock.
const MAX_TIMESTAMP_LAG: Duration = Duration::from_secs(2);

/// The most directories that may be changed during a walk if new ones cannot be recognized. It is less than a guest can
/// change within [`MAX_TIMESTAMP_LAG`]. It is more than change unless a guest tries to keep the walk running.
const MAX_CHANGED_DIRS: usize = 1_000_000;

/// The directories that a walk visited.
#[derive(Debug)]
pub(crate) struct VisitedDirs {
    began: SystemTime,
    /// Whether a birth time is the time of creation.
    has_birth_times: bool,
    max_changed: usize,
    /// The visited directories that were changed since the walk began. Only these can have been moved, and so be met
    /// again.
    changed: HashSet<FileId>,
}

impl VisitedDirs {
    /// Starts the set for a walk that begins now at an open directory. File systems stamp new entries with the time of
    /// the last tick. A directory created before the next tick therefore counts as old.
    pub fn begin(top: BorrowedFd<'_>) -> Self {
        VisitedDirs {
            began: SystemTime::now(),
            has_birth_times: has_birth_times(top),
            max_changed: MAX_CHANGED_DIRS,
            changed: HashSet::new(),
        }
    }

    /// Returns whether to visit an open directory below the top. A directory without a birth time counts as old. Fails
    /// with `EBUSY` if such a walk meets too many directories that were changed since it began.
    pub fn try_visit(&mut self, directory: &FileStat) -> io::Result<bool> {
        let born = directory.created().filter(|_| self.has_birth_times);
        if born.is_some_and(|born| self.is_after(born)) {
            return Ok(false);
        }
        let is_older =
            |changed: SystemTime| changed.checked_add(MAX_TIMESTAMP_LAG).is_some_and(|it| it < self.began);
        if directory.changed().is_some_and(is_older) {
            return Ok(true);
        }
        let is_first = self.changed.insert(directory.id());
        match born {
            None if self.changed.len() > self.max_changed => Err(Errno::EBUSY.into()),
            _ => Ok(is_first),
        }
    }

    /// Returns whether an entry was created since the walk began. A time in the future does not count: the clock was
    /// set back.
    fn is_after(&self, born: SystemTime) -> bool {
        born > self.began && born <= SystemTime::now()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes the directories that are entered")]
mod tests {
    use super::*;
    use crate::sys::fd::AsFd;
    use std::fs::{self, File};
    use std::path::Path;

    fn met(path: &Path) -> FileStat {
        FileStat::of(File::open(path).unwrap().as_fd()).unwrap()
    }

    fn begin(top: &Path) -> VisitedDirs {
        VisitedDirs::begin(File::open(top).unwrap().as_fd())
    }

    #[test]
    fn a_directory_is_entered_once_also_where_it_was_moved_and_a_later_one_never() {
        let home = tempfile::tempdir().unwrap();
        let [old, moved] = ["old", "moved"].map(|name| home.path().join(name));
        fs::create_dir(&old).unwrap();
        let mut visited = begin(home.path());
        assert!(visited.try_visit(&met(&old)).unwrap());
        fs::rename(&old, &moved).unwrap();
        assert!(!visited.try_visit(&met(&moved)).unwrap());
        // Until the file system's clock ticks, a new directory counts as old.
        let later = (0..100_000).map(|at| home.path().join(at.to_string())).find(|new| {
            fs::create_dir(new).unwrap();
            !visited.try_visit(&met(new)).unwrap()
        });
        assert!(begin(home.path()).try_visit(&met(&later.unwrap())).unwrap());
    }

    #[test]
    fn what_did_not_change_lately_takes_no_memory_and_what_is_from_the_future_is_old() {
        let home = tempfile::tempdir().unwrap();
        let later = SystemTime::now() + Duration::from_secs(3600);
        let mut visited = VisitedDirs { began: later, ..begin(home.path()) };
        assert!((0..2).all(|_| visited.try_visit(&met(home.path())).unwrap()));
        assert!(visited.changed.is_empty());
        assert!(!begin(home.path()).is_after(later));
    }

    #[test]
    fn without_birth_times_a_walk_enters_what_may_be_old_and_ends_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        let mut visited = VisitedDirs { has_birth_times: false, max_changed: 3, ..begin(home.path()) };
        let mut created = (0..).map(|at| home.path().join(at.to_string()));
        let mut enter_new = || {
            let path = created.next().unwrap();
            fs::create_dir(&path).unwrap();
            visited.try_visit(&met(&path)).map_err(|error| error.raw_os_error())
        };
        assert!((0..3).all(|_| enter_new() == Ok(true)));
        assert_eq!(enter_new(), Err(Some(Errno::EBUSY as i32)));
    }
}
