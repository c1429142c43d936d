//! How much space a file system has left, the clock that measures how old that knowledge is, and space set aside.

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::stat::fstat;
use nix::sys::statfs::{EXT4_SUPER_MAGIC, FsType, TMPFS_MAGIC, XFS_SUPER_MAGIC, fstatfs};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::ftruncate;
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// File systems whose free space falls as soon as somebody writes, what is still to be allocated included.
const COUNT_AT_ONCE: [FsType; 3] = [EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC];

/// What `st_blocks` counts in.
pub const STAT_BLOCK: u64 = 512;

/// The bytes free on the file system of an open file. None where they do not show at once what is written: btrfs
/// notices when it commits, and of others we do not know.
pub fn free_space(file: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let facts = fstatfs(file)?;
    // A tmpfs without a limit says that it has no blocks at all.
    let counts = COUNT_AT_ONCE.contains(&facts.filesystem_type()) && facts.blocks() > 0;
    Ok(counts.then(|| facts.blocks_free().saturating_mul(facts.block_size().unsigned_abs())))
}

/// The time since the machine started, sleep included: the same for all processes, and never set back.
pub fn time_since_boot() -> io::Result<Duration> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(now.tv_sec()), u32::try_from(now.tv_nsec())) else {
        return Err(Errno::EOVERFLOW.into());
    };
    Ok(Duration::new(seconds, nanos))
}

/// Gives a file the blocks for that many bytes, where it has fewer and its file system can.
pub fn reserve(file: BorrowedFd<'_>, bytes: i64) -> io::Result<()> {
    if fstat(file)?.st_blocks.saturating_mul(STAT_BLOCK as i64) >= bytes {
        return Ok(());
    }
    Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
}

/// Gives the blocks of a file's last bytes back; false where it had none.
pub fn release(file: BorrowedFd<'_>, bytes: i64) -> io::Result<bool> {
    let found = fstat(file)?;
    ftruncate(file, found.st_size.saturating_sub(bytes).max(0))?;
    Ok(found.st_blocks > 0)
}
