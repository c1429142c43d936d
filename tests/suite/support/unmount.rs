//! Unmounts what a test mounted.

use nix::errno::Errno;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a mount may be busy without a defect: on a loaded machine a child of another test, which has yet to
/// execute its program, holds copies of all descriptors.
const BUSY_TIMEOUT: Duration = Duration::from_secs(120);

/// Unmounts what is mounted at `at`, which a loop device goes with. Tries again while that is busy.
pub fn unmount(at: &Path) -> nix::Result<()> {
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match nix::mount::umount(at) {
            Err(Errno::EBUSY) if Instant::now() < deadline => sleep(Duration::from_millis(10)),
            unmounted => return unmounted,
        }
    }
}
