//! Which directories a walk try_visit: those that were there when it began. One that is moved ahead of the walk after it was
//! entered is entered once more, with what is below it, and no second time. So the walk ends, whoever makes directories
//! or moves them meanwhile.

use cap_std::fs::{Metadata, MetadataExt};
use nix::errno::Errno;
use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, fstatfs};
use std::collections::HashSet;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far a file system's times may be behind the clock.
const COARSE: Duration = Duration::from_secs(2);

/// How many directories may be changed during a walk where those that are made cannot be told from them: fewer than can
/// be changed in the time that times are behind the clock, and more than are while nobody wants to keep the walk going.
const MAX_CHANGED: usize = 1_000_000;

/// What a walk knows of those that it entered.
#[derive(Debug)]
pub(crate) struct VisitedDirs {
    began: SystemTime,
    /// Whether a directory's time of birth is when it was made. An overlay has an old one born when it first is changed.
    tells_births: bool,
    most_changed: usize,
    /// Those that were changed since then: only they can have been moved, and so be met again.
    changed: HashSet<(u64, u64)>,
}

impl VisitedDirs {
    /// Those of a walk that begins now at an open directory. File systems take the time of the last tick for what they
    /// make, so that what is made before the next one counts as old.
    pub fn begin(top: BorrowedFd<'_>) -> Self {
        let is_overlay = fstatfs(top).is_ok_and(|found| found.filesystem_type() == OVERLAYFS_SUPER_MAGIC);
        VisitedDirs {
            began: SystemTime::now(),
            tells_births: !is_overlay,
            most_changed: MAX_CHANGED,
            changed: HashSet::new(),
        }
    }

    /// Whether an open directory below the top is to be entered. One whose file system does not tell when it was made is
    /// taken for an old one, and a walk that meets too many that were changed since it began is refused.
    pub fn try_visit(&mut self, directory: &Metadata) -> io::Result<bool> {
        let born = directory.created().ok().filter(|_| self.tells_births);
        if born.is_some_and(|born| self.is_after(born.into_std())) {
            return Ok(false);
        }
        let changed = UNIX_EPOCH + Duration::from_secs(directory.ctime().max(0).unsigned_abs());
        if changed + COARSE < self.began {
            return Ok(true);
        }
        let is_first = self.changed.insert((directory.dev(), directory.ino()));
        match born {
            None if self.changed.len() > self.most_changed => Err(Errno::EBUSY.into()),
            _ => Ok(is_first),
        }
    }

    /// Whether something was made since the walk began. What is from the future was not: the clock was set back.
    fn is_after(&self, born: SystemTime) -> bool {
        born > self.began && born <= SystemTime::now()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test makes the directories that are entered")]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::fd::AsFd;
    use std::path::Path;

    fn met(path: &Path) -> Metadata {
        Metadata::from_file(&File::open(path).unwrap()).unwrap()
    }

    fn begin(top: &Path) -> VisitedDirs {
        VisitedDirs::begin(File::open(top).unwrap().as_fd())
    }

    #[test]
    fn a_directory_is_entered_once_also_where_it_was_moved_and_a_later_one_never() {
        let home = tempfile::tempdir().unwrap();
        let [old, moved] = ["old", "moved"].map(|name| home.path().join(name));
        fs::create_dir(&old).unwrap();
        let mut visits = begin(home.path());
        assert!(visits.try_visit(&met(&old)).unwrap());
        fs::rename(&old, &moved).unwrap();
        assert!(!visits.try_visit(&met(&moved)).unwrap());
        // Until the file system's clock has gone on, one that is made is taken for an old one.
        let later = (0..100_000).map(|at| home.path().join(at.to_string())).find(|new| {
            fs::create_dir(new).unwrap();
            !visits.try_visit(&met(new)).unwrap()
        });
        assert!(begin(home.path()).try_visit(&met(&later.unwrap())).unwrap());
    }

    #[test]
    fn what_did_not_change_lately_takes_no_memory_and_what_is_from_the_future_is_old() {
        let home = tempfile::tempdir().unwrap();
        let later = SystemTime::now() + Duration::from_secs(3600);
        let mut visits = VisitedDirs { began: later, ..begin(home.path()) };
        assert!((0..2).all(|_| visits.try_visit(&met(home.path())).unwrap()));
        assert!(visits.changed.is_empty());
        assert!(!begin(home.path()).is_after(later));
    }

    #[test]
    fn where_births_are_not_told_a_walk_enters_what_may_be_old_and_ends_all_the_same() {
        let home = tempfile::tempdir().unwrap();
        let mut visits = VisitedDirs { tells_births: false, most_changed: 3, ..begin(home.path()) };
        let mut made = (0..).map(|at| home.path().join(at.to_string()));
        let mut enter_new = || {
            let path = made.next().unwrap();
            fs::create_dir(&path).unwrap();
            visits.try_visit(&met(&path)).map_err(|error| error.raw_os_error())
        };
        assert!((0..3).all(|_| enter_new() == Ok(true)));
        assert_eq!(enter_new(), Err(Some(Errno::EBUSY as i32)));
    }
}
