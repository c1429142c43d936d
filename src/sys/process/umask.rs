//! The permissions that this process takes from what it makes.

use nix::errno::Errno;
use std::io;

/// This process's umask. `umask(2)` tells it only by changing it, for all threads.
#[expect(clippy::disallowed_methods, reason = "procfs is the kernel's, no guest writes there")]
pub fn umask() -> io::Result<u32> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let mask = mask.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
    mask.ok_or_else(|| Errno::ENOSYS.into())
}
