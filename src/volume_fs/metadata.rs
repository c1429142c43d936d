//! Metadata of a directory's entries, as a listing returns it.

use nix::sys::stat::FileStat;
use std::time::{Duration, SystemTime};

/// Metadata of one entry; for a link, that of the link itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryMetadata {
    /// Kind and permission bits, as in `st_mode`.
    pub mode: u32,
    /// The length in bytes.
    pub size: u64,
    /// When the content last changed; `None` if the file system returns an invalid time.
    pub modified: Option<SystemTime>,
}

impl EntryMetadata {
    pub(super) fn of(found: &FileStat) -> Self {
        let modified = time(found.st_mtime, found.st_mtime_nsec);
        EntryMetadata { mode: found.st_mode, size: found.st_size.unsigned_abs(), modified }
    }
}

/// Converts a time of `stat`. A guest's own file system may return any number.
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
    fn a_time_is_converted_if_it_is_valid() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(time(1, 5), Some(epoch + Duration::new(1, 5)));
        assert_eq!(time(-1, 5), Some(epoch - Duration::from_secs(1) + Duration::from_nanos(5)));
        assert_eq!(time(0, 1_000_000_000), None);
        assert_eq!(time(0, -1), None);
        assert!(time(i64::MAX, 999_999_999).is_some());
        assert!(time(i64::MIN, 0).is_some());
    }
}
