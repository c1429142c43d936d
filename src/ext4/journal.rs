//! The journal's superblock. Its numbers are big-endian.

use super::field::put;
use super::layout::{Ext4Layout, length};
use super::{BLOCK_SIZE, Block};

const MAGIC: u32 = 0xc03b_3998;
const SUPERBLOCK_V2: u32 = 4;

/// Builds the superblock of an empty journal. The kernel enables checksums in it if the file system has them.
pub(crate) fn superblock(layout: &Ext4Layout, uuid: &[u8; 16]) -> Block {
    let mut block = [0; BLOCK_SIZE];
    let mut number = |offset, value: u32| put(&mut block, offset, value.to_be_bytes());
    number(0x00, MAGIC);
    number(0x04, SUPERBLOCK_V2);
    number(0x0c, BLOCK_SIZE as u32);
    number(0x10, length(&layout.journal) as u32);
    // The first block of the log, and the number of the first transaction.
    number(0x14, 1);
    number(0x18, 1);
    // Users of the journal.
    number(0x40, 1);
    put(&mut block, 0x30, *uuid);
    block
}
