//! File leases (`F_SETLEASE`) of other processes.

use std::time::Duration;

/// The kernel's default of `lease-break-time`.
const DEFAULT_BREAK_TIME: Duration = Duration::from_secs(45);

/// Returns how long a process may keep a lease after another process breaks it.
pub fn lease_break_time() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a file of the kernel's own")]
    let text = std::fs::read_to_string("/proc/sys/fs/lease-break-time");
    let seconds = text.ok().and_then(|text| text.trim().parse().ok());
    seconds.map_or(DEFAULT_BREAK_TIME, Duration::from_secs)
}
