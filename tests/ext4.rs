//! New ext4 file systems before judges that nobody here wrote: e2fsprogs and the kernel.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "ext4/e2fsprogs.rs"]
mod e2fsprogs;
#[path = "ext4/image.rs"]
mod image;
#[path = "ext4/kernel.rs"]
mod kernel;
#[path = "ext4/mounted.rs"]
mod mounted;
#[path = "support/report.rs"]
mod report;
#[path = "ext4/sizes.rs"]
mod sizes;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/unmount.rs"]
mod unmount;

/// Sizes in MiB: the smallest, some within a group of 128 MiB, just beyond one, and up to 512 groups.
const SIZES: [u32; 11] =
    [sandbox_volumes::model::MIN_DISK_MIB, 8, 16, 64, 96, 100, 129, 1024, 4096, 20480, 65536];
