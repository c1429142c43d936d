//! Creates ext4 file systems without an external tool, a mount or a device: it returns the bytes to write.
//!
//! Blocks have 4 KiB. The features are those that `mke2fs` enables today, with one exception: the group descriptors are
//! spread over the disk (`meta_bg`) instead of one table with reserved space after it (`resize_inode`). So the disk can
//! grow without a limit, mounted or not, and no space is reserved for that.
//!
//! The image must be zeroed, as a new sparse file is. Blocks of zeros stay holes: the inode tables except the first
//! block, the bitmaps of unused groups, the journal except its superblock.

mod bitmap;
mod checksum;
mod descriptors;
mod directory;
mod field;
mod inode;
mod journal;
mod layout;
mod superblock;
mod timestamp;
mod writes;

use crate::error::{Error, Result};
use crate::model::option_names::SIZE_MIB;
use crate::model::{MAX_DISK_MIB, MIB, MIN_DISK_MIB};
use checksum::Checksum;
use inode::{LOST_AND_FOUND, ROOT};
use layout::{Ext4Layout, Superblocks};
use timestamp::Timestamp;
pub use writes::Extent;
use writes::Writes;

/// Bytes in a block.
const BLOCK_SIZE: usize = 4096;

/// The bytes of one block.
type Block = [u8; BLOCK_SIZE];

/// The options of a new file system.
#[derive(Clone, Debug)]
pub struct Ext4Options {
    /// The size of the image. Bytes that do not fill a block are unused. So is the last block group (of 128 MiB each) if it
    /// is too small for its inodes.
    pub size_bytes: u64,
    /// The volume label. Ext4 stores its first 16 bytes.
    pub label: String,
    /// The file system's UUID: random bytes with the version and variant bits in place.
    pub uuid: [u8; 16],
    /// The secret of hashed directories: random bytes.
    pub hash_seed: [u8; 16],
    /// The creation time in seconds since 1970. Ext4 stores times up to the year 2446.
    pub created_at_s: u64,
}

/// Returns the content to write to a zeroed image of `size_bytes`: sorted extents that neither overlap nor touch.
pub fn format(options: &Ext4Options) -> Result<Vec<Extent>> {
    let sizes = u64::from(MIN_DISK_MIB) * MIB..=u64::from(MAX_DISK_MIB) * MIB;
    if !sizes.contains(&options.size_bytes) {
        let problem = format!("a disk has from {MIN_DISK_MIB} to {MAX_DISK_MIB} MiB");
        return Err(Error::invalid_config(SIZE_MIB, problem));
    }
    let layout = Ext4Layout::new(options.size_bytes);
    let checksum = Checksum::default().add(&options.uuid);
    let superblock = superblock::Superblock::new(&layout, options);
    let mut table = [0; BLOCK_SIZE];
    let mut writes = Writes::default();
    for group in 0..layout.groups {
        if group % layout::DESCRIPTORS_PER_BLOCK == 0 {
            table = descriptors::block(&layout, checksum, group);
        }
        let own = layout.own_metadata(group);
        match layout.superblock(group) {
            Superblocks::Primary => writes.push(own.start, &superblock.primary()),
            Superblocks::Backup => writes.push(own.start, &superblock.backup(group)),
            Superblocks::None => {}
        }
        if layout.has_descriptors(group) {
            writes.push(own.end - 1, &table);
        }
        for member in layout.members(group).filter(|member| layout.has_written_bitmap(*member)) {
            writes.push(layout.block_bitmap(member), &bitmap::of_blocks(&layout, member));
        }
        if group == 0 {
            write_inodes(&mut writes, &layout, checksum, Timestamp::new(options.created_at_s));
        }
        if layout.group_of(layout.journal.start) == group {
            writes.push(layout.journal.start, &journal::superblock(&layout, &options.uuid));
        }
    }
    Ok(writes.into_extents())
}

/// Adds the first inodes and the directories.
fn write_inodes(writes: &mut Writes, layout: &Ext4Layout, checksum: Checksum, created: Timestamp) {
    writes.push(layout.inode_bitmap(0), &bitmap::of_inodes(layout));
    writes.push(layout.inode_table(0), &inode::first_block(layout, checksum, created));
    let root = [(ROOT, "."), (ROOT, ".."), (LOST_AND_FOUND, "lost+found")];
    writes.push(layout.root.start, &directory::block(checksum.of_inode(ROOT), &root));
    let lost_and_found = [(LOST_AND_FOUND, "."), (ROOT, "..")];
    let owner = checksum.of_inode(LOST_AND_FOUND);
    for (at, block) in layout.lost_and_found.clone().enumerate() {
        let entries = if at == 0 { &lost_and_found[..] } else { &[] };
        writes.push(block, &directory::block(owner, entries));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_that_no_disk_has_is_refused() {
        let options = |size_bytes| Ext4Options {
            size_bytes,
            label: String::new(),
            uuid: [1; 16],
            hash_seed: [2; 16],
            created_at_s: 0,
        };
        let (smallest, largest) = (u64::from(MIN_DISK_MIB) * MIB, u64::from(MAX_DISK_MIB) * MIB);
        for size in [0, smallest - 1, largest + 1, u64::MAX] {
            let error = format(&options(size)).unwrap_err();
            assert_eq!(error.context().field.as_deref(), Some(SIZE_MIB));
            assert_eq!(error.to_string(), "Invalid \"sizeMib\": a disk has from 5 to 16777216 MiB");
        }
        assert!(format(&options(smallest)).is_ok());
    }
}
