//! File leases (`F_SETLEASE`) of other processes.

use std::time::Duration;

/// How long the kernel lets a process keep a lease that another one asks it to give up, unless it was told otherwise.
const DEFAULT_BREAK_TIME: Duration = Duration::from_secs(45);

/// How long the kernel lets a process keep a lease that another one asks it to give up.
pub fn lease_break_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a file of the kernel's own")]
    let said = std::fs::read_to_string("/proc/sys/fs/lease-break-time");
    let seconds = said.ok().and_then(|said| said.trim().parse().ok());
    seconds.map_or(DEFAULT_BREAK_TIME, Duration::from_secs)
}
