//! Detects file systems that name other devices. The kernel opens these with its own rights, so the author of an image
//! could read a device of the host.

use super::bytes::{le16, le32, le64, read_up_to};
use super::superblock::{BTRFS, EXT, HAS_JOURNAL};
use std::fs::File;
use std::io;

/// How much of a superblock is read.
const SUPERBLOCK_BYTES: usize = 4096;

/// The offset of the second superblock of f2fs, which is used if the first is damaged.
const SECOND_OF_F2FS: usize = EXT + 4096;

/// Reports whether the file system of type `fstype` in a raw image names another device. Returns `false` for a type
/// that [`fstype`](super::superblock::fstype) does not detect.
pub fn names_other_devices(image: &File, fstype: &str) -> io::Result<bool> {
    let superblock = |at: usize| read_up_to(image, at as u64, SUPERBLOCK_BYTES);
    match fstype {
        "ext2" | "ext3" | "ext4" => Ok(has_external_journal(&superblock(EXT)?)),
        "btrfs" => Ok(has_further_members(&superblock(BTRFS)?)),
        "erofs" => Ok(has_blob_devices(&superblock(EXT)?)),
        "f2fs" => Ok(has_device_paths(&superblock(EXT)?) || has_device_paths(&superblock(SECOND_OF_F2FS)?)),
        _ => Ok(false),
    }
}

/// Reports whether the journal is not a file of the file system itself, or has a device number.
fn has_external_journal(superblock: &[u8]) -> bool {
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

/// Reports whether the list of members' paths has a first one: it is empty if there is one member.
fn has_device_paths(superblock: &[u8]) -> bool {
    superblock.get(2201) != Some(&0)
}

#[cfg(test)]
#[path = "external_devices_tests.rs"]
mod tests;
