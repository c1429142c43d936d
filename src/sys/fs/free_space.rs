//! Properties of a file system: free space, the clock that dates an observation of it, birth times, preallocation.

use linux_raw_sys::general::{EXT4_SUPER_MAGIC, OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::stat::fstat;
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ftruncate, syncfs};
use rustix::fs::{StatFs, fstatfs};
use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// File systems that count delayed allocations at once: their free space shrinks with each write.
const EXACT_FREE_SPACE: [u32; 3] = [EXT4_SUPER_MAGIC, TMPFS_MAGIC, XFS_SUPER_MAGIC];

/// The unit of `st_blocks`, in bytes.
pub const STAT_BLOCK: u64 = 512;

/// Returns the free bytes of the file system of an open file. Returns `None` if the number may lag behind writes:
/// btrfs updates it when it commits a transaction, and other file systems are not known to update it at once.
pub fn free_space(file: BorrowedFd<'_>) -> io::Result<Option<u64>> {
    let stat = fstatfs(file)?;
    // A tmpfs without a limit reports 0 blocks.
    let is_exact = EXACT_FREE_SPACE.into_iter().any(|kind| is_kind(&stat, kind)) && stat.f_blocks > 0;
    let block = u64::try_from(stat.f_bsize).unwrap_or(0);
    Ok(is_exact.then(|| stat.f_bfree.saturating_mul(block)))
}

/// Returns whether a file system has the magic number. Its sign and width differ between architectures.
fn is_kind(stat: &StatFs, magic: u32) -> bool {
    stat.f_type as u32 == magic
}

/// Returns whether the birth time of a file is the time of its creation, on the file system of an open file. Overlayfs
/// gives an old directory a birth time when it is first changed.
pub fn has_birth_times(file: BorrowedFd<'_>) -> bool {
    !fstatfs(file).is_ok_and(|found| is_kind(&found, OVERLAYFS_SUPER_MAGIC))
}

/// Flushes the whole file system of an open file to disk.
pub fn sync_file_system(file: BorrowedFd<'_>) -> io::Result<()> {
    Ok(syncfs(file)?)
}

/// Returns `CLOCK_BOOTTIME`: the time since boot, suspend included. It is the same for all processes and never goes
/// back.
pub fn time_since_boot() -> io::Result<Duration> {
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)?;
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(now.tv_sec()), u32::try_from(now.tv_nsec())) else {
        return Err(Errno::EOVERFLOW.into());
    };
    Ok(Duration::new(seconds, nanos))
}

/// Preallocates blocks for the first `bytes` of a file, if it has fewer. Fails with `EOPNOTSUPP` if the file system
/// cannot.
pub fn reserve(file: BorrowedFd<'_>, bytes: i64) -> io::Result<()> {
    if fstat(file)?.st_blocks.saturating_mul(STAT_BLOCK as i64) >= bytes {
        return Ok(());
    }
    Ok(fallocate(file, FallocateFlags::empty(), 0, bytes)?)
}

/// Cuts off the last `bytes` of a file, which frees their blocks. Returns `false` if the file had no blocks.
pub fn release(file: BorrowedFd<'_>, bytes: i64) -> io::Result<bool> {
    let found = fstat(file)?;
    ftruncate(file, found.st_size.saturating_sub(bytes).max(0))?;
    Ok(found.st_blocks > 0)
}
