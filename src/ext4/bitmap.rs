//! Block and inode bitmaps of a group: a set bit means in use.

use super::layout::Ext4Layout;
use super::{BLOCK_SIZE, Block, inode};
use std::ops::Range;

/// Builds a group's block bitmap.
pub(crate) fn of_blocks(layout: &Ext4Layout, group: u32) -> Block {
    let start = layout.first_block(group);
    let taken = layout.taken(group).map(|range| range.start - start..range.end - start);
    of(&taken, layout.blocks_in(group))
}

/// Builds the first group's inode bitmap. No other group has inodes yet.
pub(crate) fn of_inodes(layout: &Ext4Layout) -> Block {
    let taken = 0..u64::from(inode::RESERVED);
    of(std::slice::from_ref(&taken), u64::from(layout.inodes_per_group))
}

/// Builds a bitmap of `bits` bits. Sets these ranges, and the rest of the block.
fn of(ranges: &[Range<u64>], bits: u64) -> Block {
    let mut bitmap = [0; BLOCK_SIZE];
    for range in ranges {
        set(&mut bitmap, range.clone());
    }
    set(&mut bitmap, bits..8 * BLOCK_SIZE as u64);
    bitmap
}

fn set(bitmap: &mut Block, range: Range<u64>) {
    let (start, end) = (range.start as usize, range.end as usize);
    let whole = start.div_ceil(8)..end / 8;
    if whole.start >= whole.end {
        (start..end).for_each(|bit| bitmap[bit / 8] |= 1 << (bit % 8));
        return;
    }
    bitmap[whole.clone()].fill(0xff);
    (start..8 * whole.start).chain(8 * whole.end..end).for_each(|bit| bitmap[bit / 8] |= 1 << (bit % 8));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bits_of_the_ranges_and_those_after_the_end_are_set() {
        let bitmap = of(&[0..3, 5..5, 7..9, 15..34, 100..101], 32760);
        let bits: Vec<_> = (0..8 * BLOCK_SIZE).filter(|bit| bitmap[bit / 8] & 1 << (bit % 8) != 0).collect();
        let expected = (0..3).chain(7..9).chain(15..34).chain(100..101).chain(32760..32768);
        assert_eq!(bits, expected.collect::<Vec<_>>());
    }
}
