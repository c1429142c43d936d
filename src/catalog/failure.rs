//! What an error of SQLite means for the catalog.

use crate::error::Error;
use crate::sync::LOCK_TIMEOUT;

/// Returns true if the error says that the catalog's file is damaged or no catalog.
pub fn is_damage(error: &Error) -> bool {
    cause_of(error).is_some_and(is_corrupt)
}

/// Returns true if the error may mean that the disk is full. SQLite reports an exceeded quota like any other failed
/// write.
pub fn may_lack_room(error: &Error) -> bool {
    use rusqlite::ffi::{SQLITE_FULL, SQLITE_IOERR_SHMSIZE, SQLITE_IOERR_WRITE};
    let code = cause_of(error).and_then(rusqlite::Error::sqlite_error).map(|error| error.extended_code);
    matches!(code, Some(SQLITE_FULL | SQLITE_IOERR_WRITE | SQLITE_IOERR_SHMSIZE))
}

pub(super) fn cannot_open(error: &Error) -> bool {
    cause_of(error).is_some_and(|cause| cause.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen))
}

pub(super) fn cause_of(error: &Error) -> Option<&rusqlite::Error> {
    std::error::Error::source(error).and_then(|cause| cause.downcast_ref())
}

fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, OperationInterrupted, Unknown};
    // `Unknown` is SQLite's general error: a table or column is missing or exists already. `OperationInterrupted` is
    // a statement without an end.
    let broken = [NotADatabase, DatabaseCorrupt, Unknown, OperationInterrupted];
    matches!(error, rusqlite::Error::SqlInputError { .. })
        || error.sqlite_error_code().is_some_and(|code| broken.contains(&code))
}

pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked))
}

/// Maps every error of SQLite to an error of the catalog.
impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let problem = match error.sqlite_error_code() {
            _ if is_busy(&error) => format!(
                "is locked by another program, which did not release it within {} s. Try again later.",
                LOCK_TIMEOUT.as_secs()
            ),
            _ if is_corrupt(&error) => {
                "is damaged. It was left as it is; VolumeStore.check({ repair: true }) renames it and finds the \
                 volumes again."
                    .to_owned()
            }
            Some(ErrorCode::DiskFull) => "could not be written: no space is left on its disk.".to_owned(),
            _ => format!("failed: {error}"),
        };
        Error::catalog(problem).caused_by(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn a_quota_that_is_used_up_may_be_behind_what_failed_as_a_full_disk_is() {
        let failed = |code| Error::from(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        assert!(may_lack_room(&failed(ffi::SQLITE_FULL)) && may_lack_room(&failed(ffi::SQLITE_IOERR_WRITE)));
        assert!(
            !may_lack_room(&failed(ffi::SQLITE_BUSY)) && !may_lack_room(&failed(ffi::SQLITE_IOERR_FSYNC))
        );
        assert!(!may_lack_room(&Error::volume_not_found("v")));
    }
}
