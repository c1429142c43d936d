//! What a directory's entries are, as far as a listing tells.

use nix::sys::stat::FileStat;
use std::time::{Duration, SystemTime};

/// What one entry is; of a link, what the link itself is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMetadata {
    /// Kind and permission bits, as in `st_mode`.
    pub mode: u32,
    /// The length in bytes.
    pub size: u64,
    /// When the content last changed; none where the file system tells a time that there is not.
    pub modified: Option<SystemTime>,
}

impl EntryMetadata {
    pub(super) fn of(found: &FileStat) -> Self {
        let modified = time(found.st_mtime, found.st_mtime_nsec);
        EntryMetadata { mode: found.st_mode, size: found.st_size.unsigned_abs(), modified }
    }
}

/// A guest's own file system may tell any number.
fn time(seconds: i64, nanoseconds: i64) -> Option<SystemTime> {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(whole),
        false => SystemTime::UNIX_EPOCH.checked_add(whole),
    };
    let nanoseconds = u32::try_from(nanoseconds).ok().filter(|nanoseconds| *nanoseconds < 1_000_000_000)?;
    second?.checked_add(Duration::new(0, nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_far_as_there_are_such() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(time(1, 5), Some(epoch + Duration::new(1, 5)));
        assert_eq!(time(-1, 5), Some(epoch - Duration::from_secs(1) + Duration::from_nanos(5)));
        assert_eq!(time(0, 1_000_000_000), None);
        assert_eq!(time(0, -1), None);
        assert!(time(i64::MAX, 999_999_999).is_some());
        assert!(time(i64::MIN, 0).is_some());
    }
}
