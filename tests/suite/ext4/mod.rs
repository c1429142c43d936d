//! Checks new ext4 file systems with e2fsprogs and the kernel.

mod e2fsprogs;
mod image;
mod kernel;
mod mounted;
mod sizes;

/// Sizes in MiB: the smallest, some within a group of 128 MiB, just beyond one, and up to 512 groups.
const SIZES: [u32; 11] =
    [sandbox_volumes::model::MIN_DISK_MIB, 8, 16, 64, 96, 100, 129, 1024, 4096, 20480, 65536];
