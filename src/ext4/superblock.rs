//! The superblock and its copies.

use super::checksum::Checksum;
use super::field::{high32, low16, low32, put};
use super::layout::{BLOCKS_PER_GROUP, Ext4Layout, GROUPS_PER_FLEX, length};
use super::timestamp::Timestamp;
use super::{BLOCK_SIZE, Block, Ext4Options, descriptors, inode};

/// The offset of the primary superblock in its block. A copy is at offset 0.
const PRIMARY_OFFSET: usize = 1024;
const SIZE: usize = 1024;
const LABEL: usize = 16;

/// The offset of the state: whether the file system is clean.
const STATE: usize = 0x3a;
/// The offset of the number of the superblock's group.
const GROUP: usize = 0x5a;
/// The offset of the superblock's checksum, its last word.
const CHECKSUM: usize = 0x3fc;

mod compatible {
    pub(crate) const HAS_JOURNAL: u32 = 0x4;
    pub(crate) const EXT_ATTR: u32 = 0x8;
    pub(crate) const DIR_INDEX: u32 = 0x20;
}

mod incompatible {
    pub(crate) const FILETYPE: u32 = 0x2;
    pub(crate) const META_BG: u32 = 0x10;
    pub(crate) const EXTENTS: u32 = 0x40;
    pub(crate) const BITS_64: u32 = 0x80;
    pub(crate) const FLEX_BG: u32 = 0x200;
}

mod read_only_compatible {
    pub(crate) const SPARSE_SUPER: u32 = 0x1;
    pub(crate) const LARGE_FILE: u32 = 0x2;
    pub(crate) const HUGE_FILE: u32 = 0x8;
    pub(crate) const DIR_NLINK: u32 = 0x20;
    pub(crate) const EXTRA_ISIZE: u32 = 0x40;
    pub(crate) const METADATA_CSUM: u32 = 0x400;
}

const COMPATIBLE: u32 = compatible::HAS_JOURNAL | compatible::EXT_ATTR | compatible::DIR_INDEX;
const INCOMPATIBLE: u32 = incompatible::FILETYPE
    | incompatible::META_BG
    | incompatible::EXTENTS
    | incompatible::BITS_64
    | incompatible::FLEX_BG;
const READ_ONLY_COMPATIBLE: u32 = read_only_compatible::SPARSE_SUPER
    | read_only_compatible::LARGE_FILE
    | read_only_compatible::HUGE_FILE
    | read_only_compatible::DIR_NLINK
    | read_only_compatible::EXTRA_ISIZE
    | read_only_compatible::METADATA_CSUM;

/// The fields that the primary superblock and its copies share.
pub(crate) struct Superblock([u8; SIZE]);

impl Superblock {
    pub(crate) fn new(layout: &Ext4Layout, options: &Ext4Options) -> Self {
        let mut superblock = Superblock([0; SIZE]);
        superblock.put_sizes(layout);
        superblock.put_features();
        superblock.put_identity(options);
        superblock.put_journal(layout);
        superblock
    }

    /// Returns the image's first block.
    pub(crate) fn primary(&self) -> Block {
        let mut superblock = Superblock(self.0);
        // Cleanly unmounted.
        put(&mut superblock.0, STATE, 1u16.to_le_bytes());
        superblock.at(PRIMARY_OFFSET)
    }

    /// Returns the copy in that group. Its state is not clean: if only a copy is left, the file system must be checked.
    pub(crate) fn backup(&self, group: u32) -> Block {
        let mut superblock = Superblock(self.0);
        put(&mut superblock.0, GROUP, low16(group));
        superblock.at(0)
    }

    fn at(mut self, offset: usize) -> Block {
        let own = Checksum::default().add(&self.0[..CHECKSUM]).value();
        put(&mut self.0, CHECKSUM, own.to_le_bytes());
        let mut block = [0; BLOCK_SIZE];
        put(&mut block, offset, self.0);
        block
    }

    fn number(&mut self, offset: usize, value: u32) {
        put(&mut self.0, offset, value.to_le_bytes());
    }

    fn put_sizes(&mut self, layout: &Ext4Layout) {
        self.number(0x00, layout.inodes());
        put(&mut self.0, 0x04, low32(layout.blocks));
        put(&mut self.0, 0x150, high32(layout.blocks));
        // No blocks are reserved for root: a volume holds data, and its owner gets the requested size.
        put(&mut self.0, 0x0c, low32(layout.free()));
        put(&mut self.0, 0x158, high32(layout.free()));
        self.number(0x10, layout.inodes() - inode::RESERVED);
        // The sizes of a block and of a cluster: 1024 << 2.
        self.number(0x18, 2);
        self.number(0x1c, 2);
        self.number(0x20, BLOCKS_PER_GROUP as u32);
        self.number(0x24, BLOCKS_PER_GROUP as u32);
        self.number(0x28, layout.inodes_per_group);
        put(&mut self.0, 0x58, (inode::SIZE as u16).to_le_bytes());
        put(&mut self.0, 0xfe, (descriptors::SIZE as u16).to_le_bytes());
        // The minimum of extra fields of an inode, and those of new inodes, after the first 128 bytes.
        put(&mut self.0, 0x15c, inode::EXTRA_SIZE.to_le_bytes());
        put(&mut self.0, 0x15e, inode::EXTRA_SIZE.to_le_bytes());
        put(&mut self.0, 0x174, [GROUPS_PER_FLEX.ilog2() as u8]);
        // The KiB that were written so far.
        put(&mut self.0, 0x178, (layout.written() * BLOCK_SIZE as u64 / 1024).to_le_bytes());
        put(&mut self.0, 0x248, low32(layout.overhead()));
    }

    fn put_features(&mut self) {
        // The magic number.
        put(&mut self.0, 0x38, 0xef53u16.to_le_bytes());
        // Revision 1: the superblock has sizes and features.
        self.number(0x4c, 1);
        self.number(0x5c, COMPATIBLE);
        self.number(0x60, INCOMPATIBLE);
        self.number(0x64, READ_ONLY_COMPATIBLE);
        // The maximum mount count before a check: none (-1). On errors: continue.
        put(&mut self.0, 0x36, (-1i16).to_le_bytes());
        put(&mut self.0, 0x3c, 1u16.to_le_bytes());
        // The first inode that is not reserved.
        self.number(0x54, inode::LOST_AND_FOUND);
        // Directories are hashed by half MD4, with signed characters.
        put(&mut self.0, 0xfc, [1]);
        self.number(0x160, 1);
        // The default mount options: user_xattr and acl.
        self.number(0x100, 0xc);
        // Checksums are CRC-32C.
        put(&mut self.0, 0x175, [1]);
    }

    fn put_identity(&mut self, options: &Ext4Options) {
        put(&mut self.0, 0x68, options.uuid);
        put(&mut self.0, 0x78, label(&options.label));
        put(&mut self.0, 0xec, options.hash_seed);
        // The times of the last write, of the last check, and of creation.
        let created = Timestamp::new(options.created_at_s);
        for (seconds, extra) in [(0x30, 0x274), (0x40, 0x277), (0x108, 0x276)] {
            put(&mut self.0, seconds, created.seconds());
            put(&mut self.0, extra, created.superblock_extra());
        }
    }

    /// Writes the journal's inode number, and a copy of its block map and size.
    fn put_journal(&mut self, layout: &Ext4Layout) {
        let size = length(&layout.journal) * BLOCK_SIZE as u64;
        self.number(0xe0, inode::JOURNAL);
        put(&mut self.0, 0xfd, [1]);
        put(&mut self.0, 0x10c, inode::block_map(&layout.journal));
        put(&mut self.0, 0x10c + inode::BLOCK_MAP, high32(size));
        put(&mut self.0, 0x110 + inode::BLOCK_MAP, low32(size));
    }
}

/// Cuts a label after the last whole character that fits.
fn label(text: &str) -> [u8; LABEL] {
    let mut label = [0; LABEL];
    let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
    let length = ends.take_while(|end| *end <= LABEL).last().unwrap_or(0);
    label[..length].copy_from_slice(&text.as_bytes()[..length]);
    label
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_cut_between_characters() {
        assert_eq!(&label("cache"), b"cache\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(&label("exactly-sixteen!"), b"exactly-sixteen!");
        assert_eq!(&label("more-than-sixteen"), b"more-than-sixtee");
        assert_eq!(&label("fifteen-bytes-ä"), "fifteen-bytes-ä".as_bytes());
        assert_eq!(&label("fifteen-bytes--ä"), b"fifteen-bytes--\0");
        assert_eq!(label(""), [0; LABEL]);
    }
}
