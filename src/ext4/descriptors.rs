//! Group descriptors: where each group's bitmaps and inode table are, and how much of it is free.

use super::checksum::Checksum;
use super::field::{high16, high32, low16, low32, put};
use super::layout::{DESCRIPTORS_PER_BLOCK, Ext4Layout};
use super::{BLOCK_SIZE, Block, bitmap, inode};

/// Bytes in a descriptor.
pub(crate) const SIZE: usize = 64;

/// The inode bitmap is not written: no inode is in use.
const INODE_UNINIT: u16 = 1;
/// The block bitmap is not written: the kernel computes it from the layout.
const BLOCK_UNINIT: u16 = 2;
/// The inode table is zeroed, so the kernel does not zero it in the background.
const INODE_TABLE_ZEROED: u16 = 4;

/// Builds the block of descriptors that begins with that of the group `first`.
pub(crate) fn block(layout: &Ext4Layout, checksum: Checksum, first: u32) -> Block {
    let mut block = [0; BLOCK_SIZE];
    let groups = first..layout.groups.min(first + DESCRIPTORS_PER_BLOCK);
    for (group, descriptor) in groups.zip(block.chunks_exact_mut(SIZE)) {
        descriptor.copy_from_slice(&of_group(layout, checksum, group));
    }
    block
}

fn of_group(layout: &Ext4Layout, checksum: Checksum, group: u32) -> [u8; SIZE] {
    let is_first = group == 0;
    let free_inodes = layout.inodes_per_group - if is_first { inode::RESERVED } else { 0 };
    let mut flags = INODE_TABLE_ZEROED;
    let (mut block_checksum, mut inode_checksum) = (0, 0);
    match layout.has_written_bitmap(group) {
        true => block_checksum = checksum.add(&bitmap::of_blocks(layout, group)).value(),
        false => flags |= BLOCK_UNINIT,
    }
    match is_first {
        true => {
            let bits = bitmap::of_inodes(layout);
            inode_checksum = checksum.add(&bits[..layout.inodes_per_group as usize / 8]).value();
        }
        false => flags |= INODE_UNINIT,
    }
    let free_blocks = layout.free_in(group) as u32;
    let directories = if is_first { inode::DIRECTORIES } else { 0 };
    let mut descriptor = [0; SIZE];
    let mut field = |offset, bytes| put(&mut descriptor, offset, bytes);
    field(0x00, low32(layout.block_bitmap(group)));
    field(0x20, high32(layout.block_bitmap(group)));
    field(0x04, low32(layout.inode_bitmap(group)));
    field(0x24, high32(layout.inode_bitmap(group)));
    field(0x08, low32(layout.inode_table(group)));
    field(0x28, high32(layout.inode_table(group)));
    let mut field = |offset, bytes| put(&mut descriptor, offset, bytes);
    field(0x0c, low16(free_blocks));
    field(0x2c, high16(free_blocks));
    field(0x0e, low16(free_inodes));
    field(0x2e, high16(free_inodes));
    field(0x10, low16(directories));
    field(0x30, high16(directories));
    field(0x12, flags.to_le_bytes());
    field(0x18, low16(block_checksum));
    field(0x38, high16(block_checksum));
    field(0x1a, low16(inode_checksum));
    field(0x3a, high16(inode_checksum));
    // The number of unused inodes at the end of the table: all that are free.
    field(0x1c, low16(free_inodes));
    field(0x32, high16(free_inodes));
    let own = checksum.add(&group.to_le_bytes()).add(&descriptor).value();
    put(&mut descriptor, 0x1e, low16(own));
    descriptor
}
