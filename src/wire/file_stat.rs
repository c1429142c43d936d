//! Metadata of files.

use crate::store::Stat;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// The most milliseconds from 1970 that a JavaScript `Date` can hold, before or after.
const MAX_DATE_MS: f64 = 8.64e15;

/// The metadata of an entry in a volume.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FileStatJson {
    /// `st_mode`: the type and the permissions.
    pub mode: u32,
    /// The size in bytes.
    pub size: u64,
    /// Bytes allocated on the host.
    pub allocated_bytes: u64,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The number of names.
    pub nlink: u64,
    /// The last modification in milliseconds since 1970.
    pub modified_ms: Option<i64>,
    /// The last access in milliseconds since 1970.
    pub accessed_ms: Option<i64>,
    /// The creation in milliseconds since 1970.
    pub created_ms: Option<i64>,
}

impl From<&Stat> for FileStatJson {
    fn from(stat: &Stat) -> Self {
        FileStatJson {
            mode: stat.mode,
            size: stat.size,
            allocated_bytes: stat.allocated_bytes,
            uid: stat.uid,
            gid: stat.gid,
            nlink: stat.nlink,
            modified_ms: milliseconds(stat.modified),
            accessed_ms: milliseconds(stat.accessed),
            created_ms: milliseconds(stat.created),
        }
    }
}

/// Converts a time to milliseconds of a `Date`, rounded as Node.js does. Returns `None` for a time that a `Date` cannot
/// hold.
pub fn milliseconds(time: Option<SystemTime>) -> Option<i64> {
    let rounded = |span: Duration| (span.as_secs() as f64) * 1e3 + f64::from(span.subsec_nanos()) / 1e6;
    let since = match time?.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => rounded(after),
        Err(before) => -rounded(before.duration()),
    };
    let ms = (since + 0.5).floor();
    (ms.abs() <= MAX_DATE_MS).then_some(ms as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::to_json;

    #[test]
    fn times_are_rounded_and_null_if_no_date_can_hold_them() {
        let epoch = SystemTime::UNIX_EPOCH;
        let rounds = |time| milliseconds(Some(time));
        assert_eq!(rounds(epoch + Duration::from_nanos(1_499_999)), Some(1));
        assert_eq!(rounds(epoch + Duration::from_nanos(1_500_000)), Some(2));
        assert_eq!(rounds(epoch - Duration::from_nanos(1_500_000)), Some(-1));
        assert_eq!(rounds(epoch + Duration::from_millis(8_640_000_000_000_000)), Some(8_640_000_000_000_000));
        assert_eq!(rounds(epoch + Duration::from_millis(8_640_000_000_000_001)), None);
        assert_eq!(milliseconds(None), None);
    }

    #[test]
    fn an_unknown_time_is_null() {
        let (modified, size) = (Some(SystemTime::UNIX_EPOCH), u64::MAX);
        let stat = Stat {
            mode: 0o100_644,
            size,
            allocated_bytes: 4096,
            uid: 1,
            gid: 2,
            nlink: 3,
            modified,
            accessed: None,
            created: None,
        };
        assert_eq!(
            to_json(&FileStatJson::from(&stat)).unwrap(),
            "{\"mode\":33188,\"size\":18446744073709551615,\"allocatedBytes\":4096,\"uid\":1,\"gid\":2,\"nlink\":3,\
             \"modifiedMs\":0,\"accessedMs\":null,\"createdMs\":null}"
        );
    }
}
