//! Which directories a walk enters: those that were there when it began, each once. So it ends, whoever makes
//! directories or moves them ahead of it meanwhile.

use cap_std::fs::{Metadata, MetadataExt};
use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far a file system's times may be behind the clock.
const COARSE: Duration = Duration::from_secs(2);

/// What a walk knows of those that it entered.
#[derive(Debug)]
pub(super) struct Visits {
    began: SystemTime,
    /// Those that were changed since then: only they can have been moved, and so be met again.
    changed: HashSet<(u64, u64)>,
}

impl Visits {
    /// Those of a walk that begins now. File systems take the time of the last tick for what they make, so that what is
    /// made before the next one counts as old.
    pub fn begin() -> Self {
        Visits { began: SystemTime::now(), changed: HashSet::new() }
    }

    /// Whether an open directory below the top is to be entered. One whose file system keeps no time of birth is taken
    /// for an old one.
    pub fn enters(&mut self, directory: &Metadata) -> bool {
        if directory.created().is_ok_and(|born| self.is_after(born.into_std())) {
            return false;
        }
        let changed = UNIX_EPOCH + Duration::from_secs(directory.ctime().max(0).unsigned_abs());
        changed + COARSE < self.began || self.changed.insert((directory.dev(), directory.ino()))
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
    use std::path::Path;

    fn met(path: &Path) -> Metadata {
        Metadata::from_file(&File::open(path).unwrap()).unwrap()
    }

    #[test]
    fn a_directory_is_entered_once_also_where_it_was_moved_and_a_later_one_never() {
        let home = tempfile::tempdir().unwrap();
        let [old, moved] = ["old", "moved"].map(|name| home.path().join(name));
        fs::create_dir(&old).unwrap();
        let mut visits = Visits::begin();
        assert!(visits.enters(&met(&old)));
        fs::rename(&old, &moved).unwrap();
        assert!(!visits.enters(&met(&moved)));
        // Until the file system's clock has gone on, one that is made is taken for an old one.
        let later = (0..100_000).map(|at| home.path().join(at.to_string())).find(|new| {
            fs::create_dir(new).unwrap();
            !visits.enters(&met(new))
        });
        assert!(Visits::begin().enters(&met(&later.unwrap())));
    }

    #[test]
    fn what_did_not_change_lately_takes_no_memory_and_what_is_from_the_future_is_old() {
        let home = tempfile::tempdir().unwrap();
        let later = SystemTime::now() + Duration::from_secs(3600);
        let mut visits = Visits { began: later, changed: HashSet::new() };
        assert!(visits.enters(&met(home.path())) && visits.enters(&met(home.path())));
        assert!(visits.changed.is_empty());
        let visits = Visits::begin();
        assert!(!visits.is_after(later));
    }
}
