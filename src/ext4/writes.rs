//! Collects the blocks to write to an image.

use super::{BLOCK_SIZE, Block};

/// Bytes to write at an offset of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The offset of the first byte.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// Blocks in ascending order. Adjacent blocks are merged.
#[derive(Default)]
pub(crate) struct Writes {
    extents: Vec<Extent>,
}

impl Writes {
    /// Appends a block, which must be after the last one.
    pub(crate) fn push(&mut self, block: u64, bytes: &Block) {
        let offset = block * BLOCK_SIZE as u64;
        match self.extents.last_mut() {
            Some(last) if last.offset + last.bytes.len() as u64 == offset => last.bytes.extend(bytes),
            _ => self.extents.push(Extent { offset, bytes: bytes.to_vec() }),
        }
    }

    /// Returns the extents.
    pub(crate) fn into_extents(self) -> Vec<Extent> {
        self.extents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adjacent_blocks_are_merged() {
        let mut writes = Writes::default();
        for block in [1, 2, 4, 5, 6] {
            writes.push(block, &[block as u8; BLOCK_SIZE]);
        }
        let extents = writes.into_extents();
        let places: Vec<_> = extents.iter().map(|extent| (extent.offset, extent.bytes.len())).collect();
        assert_eq!(places, [(4096, 8192), (16384, 12288)]);
        assert_eq!(extents[1].bytes[4095..4097], [4, 5]);
    }
}
