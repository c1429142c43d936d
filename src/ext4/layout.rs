//! The layout of a file system: the numbers of blocks, groups and inodes, and which blocks are in use.

use super::BLOCK_SIZE;
use std::ops::Range;

/// Blocks in a group: as many as one block has bits.
pub(crate) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK_SIZE as u64;

/// The groups of a flex group, whose bitmaps and inode tables are all in the first of them.
pub(crate) const GROUPS_PER_FLEX: u32 = 16;

/// Group descriptors in a block. That many groups share a block of descriptors, of which the first, the second and the
/// last of them have a copy.
pub(crate) const DESCRIPTORS_PER_BLOCK: u32 = (BLOCK_SIZE / super::descriptors::SIZE) as u32;

/// Inodes in a block.
pub(crate) const INODES_PER_BLOCK: u32 = (BLOCK_SIZE / super::inode::SIZE) as u32;

/// The limit of inodes in a group: as many as one block has bits.
const MAX_INODES_PER_GROUP: u64 = 8 * BLOCK_SIZE as u64;

/// The blocks that the last group must have besides its own metadata. A smaller one is left out.
const MIN_LAST_GROUP_BLOCKS: u64 = 50;

/// The blocks of one bitmap.
const BITMAP_BLOCKS: u64 = 1;

/// The superblock of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Superblocks {
    /// The primary superblock, which is used.
    Primary,
    /// A copy of the primary one.
    Backup,
    /// No superblock.
    None,
}

/// The layout of one file system.
#[derive(Clone, Debug)]
pub(crate) struct Ext4Layout {
    /// Blocks in the file system, which may be fewer than in the image.
    pub(crate) blocks: u64,
    /// Groups of [`BLOCKS_PER_GROUP`]. The last may be smaller.
    pub(crate) groups: u32,
    /// Inodes in each group, including the last.
    pub(crate) inodes_per_group: u32,
    /// The block of the root directory.
    pub(crate) root: Range<u64>,
    /// The blocks of `lost+found`: as many as `mke2fs` allocates, so that `e2fsck` need not allocate any.
    pub(crate) lost_and_found: Range<u64>,
    /// The blocks of the journal.
    pub(crate) journal: Range<u64>,
}

impl Ext4Layout {
    /// Computes the layout of an image. `size_bytes` must be within the limits of a disk's size.
    pub(crate) fn new(size_bytes: u64) -> Self {
        let blocks = size_bytes / BLOCK_SIZE as u64;
        let layout = Ext4Layout::of_blocks(blocks);
        let last = layout.groups - 1;
        let least = layout.own_metadata_blocks(last) + layout.table_blocks() + MIN_LAST_GROUP_BLOCKS;
        match last > 0 && layout.blocks_in(last) < least {
            true => Ext4Layout::of_blocks(u64::from(last) * BLOCKS_PER_GROUP),
            false => layout,
        }
    }

    fn of_blocks(blocks: u64) -> Self {
        let groups = blocks.div_ceil(BLOCKS_PER_GROUP);
        let inodes = (blocks * BLOCK_SIZE as u64 / bytes_per_inode(blocks)).div_ceil(groups);
        let inodes = inodes.next_multiple_of(u64::from(INODES_PER_BLOCK)).min(MAX_INODES_PER_GROUP);
        let mut layout = Ext4Layout {
            blocks,
            groups: groups as u32,
            inodes_per_group: inodes as u32,
            root: 0..0,
            lost_and_found: 0..0,
            journal: 0..0,
        };
        let start = layout.tables(0).end;
        layout.root = start..start + 1;
        layout.lost_and_found = layout.root.end..layout.root.end + 4;
        layout.journal = layout.place_journal(journal_blocks(blocks));
        layout
    }

    /// Places the journal in one piece: after the directories or, if it does not fit there, in the groups after the first.
    /// Two of those are adjacent, with no metadata between them.
    fn place_journal(&self, blocks: u64) -> Range<u64> {
        let behind = self.lost_and_found.end;
        let start = match self.blocks_in(0) - behind < blocks {
            true => self.own_metadata(1).end,
            false => behind,
        };
        start..start + blocks
    }

    /// Returns the number of inodes.
    pub(crate) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    /// Returns the number of blocks of a group's inode table.
    pub(crate) fn inode_table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group / INODES_PER_BLOCK)
    }

    /// Returns the number of blocks of a group's bitmaps and inode table, which may be in another group.
    fn table_blocks(&self) -> u64 {
        2 * BITMAP_BLOCKS + self.inode_table_blocks()
    }

    /// Returns the group of a block.
    pub(crate) fn group_of(&self, block: u64) -> u32 {
        (block / BLOCKS_PER_GROUP) as u32
    }

    /// Returns a group's first block.
    pub(crate) fn first_block(&self, group: u32) -> u64 {
        u64::from(group) * BLOCKS_PER_GROUP
    }

    /// Returns the number of blocks in a group.
    pub(crate) fn blocks_in(&self, group: u32) -> u64 {
        (self.blocks - self.first_block(group)).min(BLOCKS_PER_GROUP)
    }

    /// Returns the superblock of a group. Groups 1 and the powers of 3, 5 and 7 have a copy.
    pub(crate) fn superblock(&self, group: u32) -> Superblocks {
        match group {
            0 => Superblocks::Primary,
            1 => Superblocks::Backup,
            _ if [3, 5, 7].iter().any(|base| is_power_of(group, *base)) => Superblocks::Backup,
            _ => Superblocks::None,
        }
    }

    /// Reports whether a group has a block of descriptors.
    pub(crate) fn has_descriptors(&self, group: u32) -> bool {
        let at = group % DESCRIPTORS_PER_BLOCK;
        at < 2 || at == DESCRIPTORS_PER_BLOCK - 1
    }

    fn own_metadata_blocks(&self, group: u32) -> u64 {
        u64::from(self.superblock(group) != Superblocks::None) + u64::from(self.has_descriptors(group))
    }

    /// Returns the first blocks of a group: a superblock, a block of descriptors, both or none.
    pub(crate) fn own_metadata(&self, group: u32) -> Range<u64> {
        let start = self.first_block(group);
        start..start + self.own_metadata_blocks(group)
    }

    /// Returns the groups whose bitmaps and inode tables are in this one. Only the first of each flex group has any.
    pub(crate) fn members(&self, group: u32) -> Range<u32> {
        match group.is_multiple_of(GROUPS_PER_FLEX) {
            true => group..self.groups.min(group + GROUPS_PER_FLEX),
            false => group..group,
        }
    }

    /// Returns the blocks of the bitmaps and inode tables in a group.
    pub(crate) fn tables(&self, group: u32) -> Range<u64> {
        let start = self.own_metadata(group).end;
        start..start + u64::from(self.members(group).end - group) * self.table_blocks()
    }

    /// Returns the block of a group's block bitmap.
    pub(crate) fn block_bitmap(&self, group: u32) -> u64 {
        let (tables, _, at) = self.place_among_members(group);
        tables + at
    }

    /// Returns the block of a group's inode bitmap.
    pub(crate) fn inode_bitmap(&self, group: u32) -> u64 {
        let (tables, members, at) = self.place_among_members(group);
        tables + members * BITMAP_BLOCKS + at
    }

    /// Returns the first block of a group's inode table.
    pub(crate) fn inode_table(&self, group: u32) -> u64 {
        let (tables, members, at) = self.place_among_members(group);
        tables + 2 * members * BITMAP_BLOCKS + at * self.inode_table_blocks()
    }

    /// Returns the first block of the tables of a group's flex group, the number of its groups, and the group's index in it.
    fn place_among_members(&self, group: u32) -> (u64, u64, u64) {
        let first = group - group % GROUPS_PER_FLEX;
        let members = self.members(first).end - first;
        (self.tables(first).start, u64::from(members), u64::from(group - first))
    }

    /// Returns the blocks of a group that are in use. The ranges do not overlap, and some may be empty.
    pub(crate) fn taken(&self, group: u32) -> [Range<u64>; 5] {
        let group_start = self.first_block(group);
        let group_end = group_start + self.blocks_in(group);
        let within = |range: &Range<u64>| {
            let start = range.start.clamp(group_start, group_end);
            start..range.end.clamp(start, group_end)
        };
        [
            self.own_metadata(group),
            self.tables(group),
            within(&self.root),
            within(&self.lost_and_found),
            within(&self.journal),
        ]
    }

    /// Returns the number of free blocks of a group.
    pub(crate) fn free_in(&self, group: u32) -> u64 {
        self.blocks_in(group) - self.taken(group).iter().map(length).sum::<u64>()
    }

    /// Returns the number of free blocks.
    pub(crate) fn free(&self) -> u64 {
        (0..self.groups).map(|group| self.free_in(group)).sum()
    }

    /// Returns the number of blocks that no file can use: the metadata and the journal.
    pub(crate) fn overhead(&self) -> u64 {
        let own: u64 = (0..self.groups).map(|group| self.own_metadata_blocks(group)).sum();
        own + u64::from(self.groups) * self.table_blocks() + length(&self.journal)
    }

    /// Reports whether a group's block bitmap must be written. If only a group's first blocks are in use, the kernel
    /// computes its bitmap from the layout. The last group's is always written, as `mke2fs` does.
    pub(crate) fn has_written_bitmap(&self, group: u32) -> bool {
        let [_, others @ ..] = self.taken(group);
        group == self.groups - 1 || others.iter().any(|range| !range.is_empty())
    }

    /// Returns the number of blocks that are written to the image.
    pub(crate) fn written(&self) -> u64 {
        let groups = 0..self.groups;
        let of_groups: u64 = groups
            .map(|group| self.own_metadata_blocks(group) + u64::from(self.has_written_bitmap(group)))
            .sum();
        // The first inode bitmap, the first block of inodes and the journal's superblock.
        of_groups + length(&self.root) + length(&self.lost_and_found) + 3
    }
}

/// Returns the number of blocks in a range.
pub(crate) fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// Returns the bytes of disk per inode, as `mke2fs` does: fewer below 512 MiB.
fn bytes_per_inode(blocks: u64) -> u64 {
    match blocks < (512 << 20) / BLOCK_SIZE as u64 {
        true => 4096,
        false => 16384,
    }
}

/// Returns the journal's size in blocks, as `mke2fs` does for disks up to 32 GiB. A larger disk gets no larger journal:
/// in time a guest writes all of it, and it stays allocated on the host.
fn journal_blocks(blocks: u64) -> u64 {
    match blocks {
        0x0_0000..0x0_8000 => 1024,
        0x0_8000..0x4_0000 => 4096,
        0x4_0000..0x8_0000 => 8192,
        0x8_0000..0x40_0000 => 16384,
        _ => 32768,
    }
}

fn is_power_of(number: u32, base: u32) -> bool {
    let mut power = u64::from(base);
    while power < u64::from(number) {
        power *= u64::from(base);
    }
    power == u64::from(number)
}

#[cfg(test)]
mod tests;
