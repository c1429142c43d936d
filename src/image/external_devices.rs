//! Disks that have the kernel open other devices: what an image names is opened with the kernel's own rights, so that
//! whoever wrote the image would be shown a device of the host.

use super::bytes::{le16, le32, le64, read_up_to};
use super::superblock::{BTRFS, EXT, HAS_JOURNAL};
use std::fs::File;
use std::io;

/// How much of a superblock is looked at.
const LOOKED_AT: usize = 4096;

/// Where f2fs keeps its second superblock, which counts where the first is damaged.
const SECOND_OF_F2FS: usize = EXT + 4096;

/// Whether the file system of that type in a raw image names a device beside the one that it is on. Types that
/// [`fstype`](super::superblock::fstype) does not know are not looked at.
pub fn names_other_devices(image: &File, fstype: &str) -> io::Result<bool> {
    let superblock = |at: usize| read_up_to(image, at as u64, LOOKED_AT);
    match fstype {
        "ext2" | "ext3" | "ext4" => Ok(has_journal_elsewhere(&superblock(EXT)?)),
        "btrfs" => Ok(has_further_members(&superblock(BTRFS)?)),
        "erofs" => Ok(has_blob_devices(&superblock(EXT)?)),
        "f2fs" => Ok(has_device_paths(&superblock(EXT)?) || has_device_paths(&superblock(SECOND_OF_F2FS)?)),
        _ => Ok(false),
    }
}

/// A journal that is no file of the file system itself, or a device's number for it.
fn has_journal_elsewhere(superblock: &[u8]) -> bool {
    let has_journal = le32(superblock, 92).is_some_and(|compatible| compatible & HAS_JOURNAL != 0);
    let [file, device] = [224, 228].map(|at| le32(superblock, at).unwrap_or(0));
    device != 0 || (has_journal && file == 0)
}

fn has_further_members(superblock: &[u8]) -> bool {
    le64(superblock, 136) != Some(1)
}

fn has_blob_devices(superblock: &[u8]) -> bool {
    const DEVICE_TABLE: u32 = 0x8;
    le32(superblock, 80).is_none_or(|incompatible| incompatible & DEVICE_TABLE != 0)
        || le16(superblock, 86) != Some(0)
}

/// Members by their paths, of which the first is there only where there are several.
fn has_device_paths(superblock: &[u8]) -> bool {
    superblock.get(2201) != Some(&0)
}

#[cfg(test)]
#[path = "external_devices_tests.rs"]
mod tests;
