//! Times, which ext4 stores in two fields.

/// The last second that an inode can store, in the year 2446.
const MAX_SECONDS: u64 = (3 << 32) + i32::MAX as u64;

/// Whole seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timestamp(u64);

impl Timestamp {
    /// Creates a time, at most [`MAX_SECONDS`].
    pub(crate) fn new(seconds: u64) -> Self {
        Timestamp(seconds.min(MAX_SECONDS))
    }

    /// Returns the original field: the low 32 bits.
    pub(crate) fn seconds(self) -> [u8; 4] {
        (self.0 as u32).to_le_bytes()
    }

    /// Returns an inode's extra field. Its 2 low bits count units of 2^32 seconds to add to the original field, which is
    /// signed in an inode. The other bits, the nanoseconds, are 0.
    pub(crate) fn inode_extra(self) -> [u8; 4] {
        let signed = i64::from(self.0 as i32);
        let epoch = (self.0 as i64 - signed) >> 32;
        (epoch as u32).to_le_bytes()
    }

    /// Returns a superblock's extra byte: the bits above the original field, which is unsigned in a superblock.
    pub(crate) fn superblock_extra(self) -> [u8; 1] {
        [(self.0 >> 32) as u8]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_counts_epochs_of_signed_seconds() {
        let read = |seconds: u64| {
            let time = Timestamp::new(seconds);
            let low = i64::from(i32::from_le_bytes(time.seconds()));
            let extra = u32::from_le_bytes(time.inode_extra());
            assert!(extra < 4, "nanoseconds");
            low + (i64::from(extra) << 32)
        };
        for seconds in
            [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, 0x1_8000_0000, MAX_SECONDS]
        {
            assert_eq!(read(seconds), seconds as i64);
        }
        assert_eq!(read(u64::MAX), MAX_SECONDS as i64);
    }

    #[test]
    fn a_superblock_counts_unsigned_seconds() {
        for seconds in [0, 0x8000_0000, 0xffff_ffff, 0x1_0000_0000, MAX_SECONDS] {
            let time = Timestamp::new(seconds);
            let low = u64::from(u32::from_le_bytes(time.seconds()));
            assert_eq!(low + (u64::from(time.superblock_extra()[0]) << 32), seconds);
        }
    }
}
