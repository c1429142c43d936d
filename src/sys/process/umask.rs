//! The umask of this process.

use nix::errno::Errno;
use std::io;

/// Returns this process's umask from procfs. `umask(2)` returns it only while changing it, for all threads.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
pub fn umask() -> io::Result<u32> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let mask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
    mask.ok_or_else(|| Errno::ENOSYS.into())
}
