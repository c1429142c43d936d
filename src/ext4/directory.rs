//! Directory blocks.

use super::checksum::Checksum;
use super::field::put;
use super::{BLOCK_SIZE, Block};

/// The length of the tail of a directory block, which has the checksum in the form of an entry without a name.
const TAIL: usize = 12;
const TAIL_TYPE: u8 = 0xde;

/// The length of an entry without its name.
const HEAD: usize = 8;

const DIRECTORY: u8 = 2;

/// Builds a directory block with these subdirectories. `owner` is the checksum seed of the directory's inode.
pub(crate) fn block(owner: Checksum, entries: &[(u32, &str)]) -> Block {
    let mut block = [0; BLOCK_SIZE];
    let end = BLOCK_SIZE - TAIL;
    let mut at = 0;
    for (place, (inode, name)) in entries.iter().enumerate() {
        let is_last = place + 1 == entries.len();
        let length = if is_last { end - at } else { (HEAD + name.len()).next_multiple_of(4) };
        put(&mut block, at, inode.to_le_bytes());
        put(&mut block, at + 4, (length as u16).to_le_bytes());
        put(&mut block, at + 6, [name.len() as u8, DIRECTORY]);
        block[at + HEAD..at + HEAD + name.len()].copy_from_slice(name.as_bytes());
        at += length;
    }
    if entries.is_empty() {
        put(&mut block, 4, (end as u16).to_le_bytes());
    }
    put(&mut block, end + 4, (TAIL as u16).to_le_bytes());
    put(&mut block, end + 7, [TAIL_TYPE]);
    let own = owner.add(&block[..end]).value();
    put(&mut block, end + 8, own.to_le_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fill_the_block_up_to_the_tail() {
        let number = |block: &Block, at: usize| usize::from(u16::from_le_bytes([block[at], block[at + 1]]));
        for entries in [&[(2, "."), (2, ".."), (11, "lost+found")][..], &[]] {
            let block = block(Checksum::default(), entries);
            let mut at = 0;
            let mut seen = Vec::new();
            while at < BLOCK_SIZE - TAIL {
                let name = &block[at + HEAD..at + HEAD + usize::from(block[at + 6])];
                if block[at] != 0 {
                    seen.push((u32::from(block[at]), std::str::from_utf8(name).unwrap()));
                }
                at += number(&block, at + 4);
            }
            assert_eq!(at, BLOCK_SIZE - TAIL);
            assert_eq!(seen, entries);
            assert_eq!(block[at..at + 8], [0, 0, 0, 0, 12, 0, 0, 0xde]);
        }
    }
}
