//! Ends a test that hangs.

use std::io::Write;
use std::process::abort;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Far longer than anything takes that does not hang, on a busy machine as well.
pub const HANG_TIMEOUT: Duration = Duration::from_secs(180);

/// Does `work` in this thread. If it has not ended within [`HANG_TIMEOUT`], the test process is aborted: nothing else
/// can end a thread that hangs.
pub fn watched<T>(about: &str, work: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        let (ends_at_drop, end) = mpsc::channel::<()>();
        scope.spawn(move || {
            if end.recv_timeout(HANG_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
                let _unseen = writeln!(std::io::stderr(), "{about} hangs");
                abort();
            }
        });
        let result = work();
        drop(ends_at_drop);
        result
    })
}
