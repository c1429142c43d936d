//! CRC-32C as ext4 uses it: starts with all ones, without the final inversion, with a seed per kind of structure.

/// The checksum of the bytes that were added so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Checksum(u32);

impl Default for Checksum {
    fn default() -> Self {
        Checksum(!0)
    }
}

impl Checksum {
    /// Adds bytes.
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        // The library inverts before and after, as most formats need it.
        Checksum(!crc32c::crc32c_append(!self.0, bytes))
    }

    /// Returns the seed for an inode and its blocks. The generation of a new inode is 0.
    pub(crate) fn of_inode(self, inode: u32) -> Self {
        self.add(&inode.to_le_bytes()).add(&0u32.to_le_bytes())
    }

    /// Returns the stored number.
    pub(crate) fn value(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_crc_32c_is_met_before_the_final_inversion() {
        assert_eq!(!Checksum::default().add(b"123456789").value(), 0xe306_9283);
    }

    #[test]
    fn bytes_may_be_added_in_pieces() {
        assert_eq!(Checksum::default().add(b"1234").add(b"56789"), Checksum::default().add(b"123456789"));
    }
}
