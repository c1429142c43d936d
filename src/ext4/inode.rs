//! The inodes of a new file system: the root directory, the journal and `lost+found`.

use super::checksum::Checksum;
use super::field::{high16, high32, low16, low32, put};
use super::layout::{Ext4Layout, length};
use super::timestamp::Timestamp;
use super::{BLOCK_SIZE, Block};
use std::ops::Range;

/// Bytes in an inode.
pub(crate) const SIZE: usize = 256;

/// The length of an inode's fields after the first 128 bytes.
pub(crate) const EXTRA_SIZE: u16 = 32;

/// The number of the root directory's inode.
pub(crate) const ROOT: u32 = 2;
/// The number of the journal's inode.
pub(crate) const JOURNAL: u32 = 8;
/// The number of the inode of `lost+found`, the first that is not reserved.
pub(crate) const LOST_AND_FOUND: u32 = 11;

/// The number of inodes that are marked as in use: all up to `lost+found`.
pub(crate) const RESERVED: u32 = LOST_AND_FOUND;
/// How many of them are directories.
pub(crate) const DIRECTORIES: u32 = 2;

/// The length of an inode's block map, which says where its data is.
pub(crate) const BLOCK_MAP: usize = 60;

const DIRECTORY: u16 = 0o040_000;
const REGULAR_FILE: u16 = 0o100_000;
const EXTENTS_FLAG: u32 = 0x8_0000;
const EXTENT_MAGIC: u16 = 0xf30a;

struct Inode<'l> {
    number: u32,
    mode: u16,
    links: u16,
    data: &'l Range<u64>,
}

/// Builds the first block of the first group's inode table.
pub(crate) fn first_block(layout: &Ext4Layout, checksum: Checksum, created: Timestamp) -> Block {
    let inodes = [
        Inode { number: ROOT, mode: DIRECTORY | 0o755, links: 3, data: &layout.root },
        Inode { number: JOURNAL, mode: REGULAR_FILE | 0o600, links: 1, data: &layout.journal },
        Inode { number: LOST_AND_FOUND, mode: DIRECTORY | 0o700, links: 2, data: &layout.lost_and_found },
    ];
    let mut block = [0; BLOCK_SIZE];
    for inode in inodes {
        let place = (inode.number as usize - 1) * SIZE;
        block[place..place + SIZE].copy_from_slice(&inode.encode(checksum, created));
    }
    block
}

impl Inode<'_> {
    fn encode(&self, checksum: Checksum, created: Timestamp) -> [u8; SIZE] {
        let size = length(self.data) * BLOCK_SIZE as u64;
        let mut inode = [0; SIZE];
        put(&mut inode, 0x00, self.mode.to_le_bytes());
        put(&mut inode, 0x04, low32(size));
        put(&mut inode, 0x1a, self.links.to_le_bytes());
        // The data's size in sectors of 512 bytes.
        put(&mut inode, 0x1c, low32(size / 512));
        put(&mut inode, 0x20, EXTENTS_FLAG.to_le_bytes());
        put(&mut inode, 0x28, block_map(self.data));
        put(&mut inode, 0x6c, high32(size));
        put(&mut inode, 0x80, EXTRA_SIZE.to_le_bytes());
        // Accessed, changed, modified, created.
        for (seconds, extra) in [(0x08, 0x8c), (0x0c, 0x84), (0x10, 0x88), (0x90, 0x94)] {
            put(&mut inode, seconds, created.seconds());
            put(&mut inode, extra, created.inode_extra());
        }
        let own = checksum.of_inode(self.number).add(&inode).value();
        put(&mut inode, 0x7c, low16(own));
        put(&mut inode, 0x82, high16(own));
        inode
    }
}

/// Builds the block map of contiguous data: an extent tree with one extent in the inode itself. An extent has up to
/// 32768 blocks, the size of the largest journal.
pub(crate) fn block_map(data: &Range<u64>) -> [u8; BLOCK_MAP] {
    let mut map = [0; BLOCK_MAP];
    put(&mut map, 0, EXTENT_MAGIC.to_le_bytes());
    // One entry of the four that fit.
    put(&mut map, 2, 1u16.to_le_bytes());
    put(&mut map, 4, 4u16.to_le_bytes());
    put(&mut map, 16, (length(data) as u16).to_le_bytes());
    put(&mut map, 18, ((data.start >> 32) as u16).to_le_bytes());
    put(&mut map, 20, low32(data.start));
    map
}
