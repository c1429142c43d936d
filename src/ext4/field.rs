//! Fields of on-disk structures.

/// Writes a field at its offset.
pub(crate) fn put<const N: usize>(structure: &mut [u8], offset: usize, bytes: [u8; N]) {
    structure[offset..offset + N].copy_from_slice(&bytes);
}

/// Returns the low half of a number whose halves are two fields.
pub(crate) fn low16(value: u32) -> [u8; 2] {
    (value as u16).to_le_bytes()
}

/// Returns the high half of a number whose halves are two fields.
pub(crate) fn high16(value: u32) -> [u8; 2] {
    ((value >> 16) as u16).to_le_bytes()
}

/// Returns the low half of a number whose halves are two fields.
pub(crate) fn low32(value: u64) -> [u8; 4] {
    (value as u32).to_le_bytes()
}

/// Returns the high half of a number whose halves are two fields.
pub(crate) fn high32(value: u64) -> [u8; 4] {
    ((value >> 32) as u32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_written_in_halves() {
        let mut structure = [0; 12];
        put(&mut structure, 0, low32(0x1122_3344_5566_7788));
        put(&mut structure, 4, high32(0x1122_3344_5566_7788));
        put(&mut structure, 8, high16(0x1122_3344));
        put(&mut structure, 10, low16(0x1122_3344));
        assert_eq!(structure, [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, 0x22, 0x11, 0x44, 0x33]);
    }
}
