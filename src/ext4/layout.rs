//! Where everything stands: how many blocks, groups and inodes a size gives, and which blocks are taken.

use super::BLOCK_SIZE;
use std::ops::Range;

/// Blocks in a group: as many as one block has bits.
pub(crate) const BLOCKS_PER_GROUP: u64 = 8 * BLOCK_SIZE as u64;

/// Groups that keep their bitmaps and inode tables together, in the first of them.
pub(crate) const GROUPS_PER_FLEX: u32 = 16;

/// Group descriptors in a block. That many groups have a block of descriptors of their own, which stands in the
/// first, the second and the last of them.
pub(crate) const DESCRIPTORS_PER_BLOCK: u32 = (BLOCK_SIZE / super::descriptors::SIZE) as u32;

/// Inodes in a block.
pub(crate) const INODES_PER_BLOCK: u32 = (BLOCK_SIZE / super::inode::SIZE) as u32;

/// The most inodes that a group can have: as many as one block has bits.
const MAX_INODES_PER_GROUP: u64 = 8 * BLOCK_SIZE as u64;

/// What a last group must have besides its own metadata to be kept.
const MIN_ROOM: u64 = 50;

/// One of the two bitmaps of a group.
const BITMAP_BLOCKS: u64 = 1;

/// Which superblock stands in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Superblocks {
    /// The one that is used.
    Primary,
    /// A copy of it.
    Backup,
    /// None.
    None,
}

/// The arithmetic of one file system.
#[derive(Clone, Debug)]
pub(crate) struct Ext4Layout {
    /// Blocks in the file system, which may be fewer than in the image.
    pub(crate) blocks: u64,
    /// Groups of [`BLOCKS_PER_GROUP`]; the last may be smaller.
    pub(crate) groups: u32,
    /// Inodes in each group, the last as well.
    pub(crate) inodes_per_group: u32,
    /// The block of the root directory.
    pub(crate) root: Range<u64>,
    /// The blocks of `lost+found`, as many as `mke2fs` gives it, so that `e2fsck` need not look for any.
    pub(crate) lost_and_found: Range<u64>,
    /// The blocks of the journal.
    pub(crate) journal: Range<u64>,
}

impl Ext4Layout {
    /// The layout for an image of that size, which must be at least the smallest and at most the largest disk's.
    pub(crate) fn new(size_bytes: u64) -> Self {
        let blocks = size_bytes / BLOCK_SIZE as u64;
        let layout = Ext4Layout::of_blocks(blocks);
        let last = layout.groups - 1;
        let least = layout.own_metadata_blocks(last) + layout.table_blocks() + MIN_ROOM;
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

    /// The journal stands in one piece, behind the directories or, where it does not fit there, in the groups
    /// after the first. Two of those lie side by side without anything between them.
    fn place_journal(&self, blocks: u64) -> Range<u64> {
        let behind = self.lost_and_found.end;
        let start = match self.blocks_in(0) - behind < blocks {
            true => self.own_metadata(1).end,
            false => behind,
        };
        start..start + blocks
    }

    /// All inodes.
    pub(crate) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    /// Blocks of a group's inode table.
    pub(crate) fn inode_table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group / INODES_PER_BLOCK)
    }

    /// Blocks of a group's bitmaps and inode table, wherever they stand.
    fn table_blocks(&self) -> u64 {
        2 * BITMAP_BLOCKS + self.inode_table_blocks()
    }

    /// The group that a block is in.
    pub(crate) fn group_of(&self, block: u64) -> u32 {
        (block / BLOCKS_PER_GROUP) as u32
    }

    /// A group's first block.
    pub(crate) fn first_block(&self, group: u32) -> u64 {
        u64::from(group) * BLOCKS_PER_GROUP
    }

    /// Blocks in a group.
    pub(crate) fn blocks_in(&self, group: u32) -> u64 {
        (self.blocks - self.first_block(group)).min(BLOCKS_PER_GROUP)
    }

    /// Which superblock stands in a group: backups in the first and in the powers of 3, 5 and 7.
    pub(crate) fn superblock(&self, group: u32) -> Superblocks {
        match group {
            0 => Superblocks::Primary,
            1 => Superblocks::Backup,
            _ if [3, 5, 7].iter().any(|base| is_power_of(group, *base)) => Superblocks::Backup,
            _ => Superblocks::None,
        }
    }

    /// Whether a block of descriptors stands in a group.
    pub(crate) fn has_descriptors(&self, group: u32) -> bool {
        let at = group % DESCRIPTORS_PER_BLOCK;
        at < 2 || at == DESCRIPTORS_PER_BLOCK - 1
    }

    fn own_metadata_blocks(&self, group: u32) -> u64 {
        u64::from(self.superblock(group) != Superblocks::None) + u64::from(self.has_descriptors(group))
    }

    /// What a group begins with: a superblock, a block of descriptors, both or nothing.
    pub(crate) fn own_metadata(&self, group: u32) -> Range<u64> {
        let start = self.first_block(group);
        start..start + self.own_metadata_blocks(group)
    }

    /// The groups whose bitmaps and inode tables stand in this one: none, but for the first of each flex group.
    pub(crate) fn members(&self, group: u32) -> Range<u32> {
        match group.is_multiple_of(GROUPS_PER_FLEX) {
            true => group..self.groups.min(group + GROUPS_PER_FLEX),
            false => group..group,
        }
    }

    /// The bitmaps and inode tables that stand in a group.
    pub(crate) fn tables(&self, group: u32) -> Range<u64> {
        let start = self.own_metadata(group).end;
        start..start + u64::from(self.members(group).end - group) * self.table_blocks()
    }

    /// Where a group's block bitmap stands.
    pub(crate) fn block_bitmap(&self, group: u32) -> u64 {
        let (tables, _, at) = self.place_among_members(group);
        tables + at
    }

    /// Where a group's inode bitmap stands.
    pub(crate) fn inode_bitmap(&self, group: u32) -> u64 {
        let (tables, members, at) = self.place_among_members(group);
        tables + members * BITMAP_BLOCKS + at
    }

    /// Where a group's inode table begins.
    pub(crate) fn inode_table(&self, group: u32) -> u64 {
        let (tables, members, at) = self.place_among_members(group);
        tables + 2 * members * BITMAP_BLOCKS + at * self.inode_table_blocks()
    }

    /// Where the tables of a group's flex group begin, of how many groups they are, and the group's place.
    fn place_among_members(&self, group: u32) -> (u64, u64, u64) {
        let first = group - group % GROUPS_PER_FLEX;
        let members = self.members(first).end - first;
        (self.tables(first).start, u64::from(members), u64::from(group - first))
    }

    /// The blocks of a group that are taken. The ranges do not overlap, and some are empty.
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

    /// Blocks of a group that are free.
    pub(crate) fn free_in(&self, group: u32) -> u64 {
        self.blocks_in(group) - self.taken(group).iter().map(length).sum::<u64>()
    }

    /// All blocks that are free.
    pub(crate) fn free(&self) -> u64 {
        (0..self.groups).map(|group| self.free_in(group)).sum()
    }

    /// Blocks that no file will ever have: the metadata and the journal.
    pub(crate) fn overhead(&self) -> u64 {
        let own: u64 = (0..self.groups).map(|group| self.own_metadata_blocks(group)).sum();
        own + u64::from(self.groups) * self.table_blocks() + length(&self.journal)
    }

    /// Whether a group's block bitmap must be written. Of a group that holds nothing but what it begins with,
    /// the bitmap can be told from the layout; the last group's is written nevertheless, as `mke2fs` does.
    pub(crate) fn has_written_bitmap(&self, group: u32) -> bool {
        let [_, others @ ..] = self.taken(group);
        group == self.groups - 1 || others.iter().any(|range| !range.is_empty())
    }

    /// Blocks that are written into the image.
    pub(crate) fn written(&self) -> u64 {
        let groups = 0..self.groups;
        let of_groups: u64 = groups
            .map(|group| self.own_metadata_blocks(group) + u64::from(self.has_written_bitmap(group)))
            .sum();
        // The first inode bitmap, the first block of inodes and the journal's superblock.
        of_groups + length(&self.root) + length(&self.lost_and_found) + 3
    }
}

/// Blocks in a range.
pub(crate) fn length(range: &Range<u64>) -> u64 {
    range.end - range.start
}

/// How many bytes of disk there are for each inode: as `mke2fs` has it, fewer below 512 MiB.
fn bytes_per_inode(blocks: u64) -> u64 {
    match blocks < (512 << 20) / BLOCK_SIZE as u64 {
        true => 4096,
        false => 16384,
    }
}

/// The journal's size, as `mke2fs` has it up to 32 GiB. A larger disk has no larger journal: it fills with
/// time, and what a guest has once written there stays allocated on the host.
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
