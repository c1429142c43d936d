//! Reads numbers from bytes, and bytes from files. Both may end too early.

use crate::sys::ext::FileExt;
use std::fs::File;
use std::io;

/// Returns the `N` bytes at `at`, or `None` if there are fewer.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Reads a big-endian 32-bit number.
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// Reads a big-endian 64-bit number.
pub fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_be_bytes)
}

/// Reads a little-endian 16-bit number.
pub fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// Reads a little-endian 32-bit number.
pub fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// Reads a little-endian 64-bit number.
pub fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// Reads up to `limit` bytes from `offset`: fewer if the file ends.
pub fn read_up_to(file: &File, offset: u64, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; limit];
    let read = fill(file, offset, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Fills `buffer` from `offset`. Returns how many bytes the file had.
pub fn fill(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let Some(at) = offset.checked_add(done as u64) else { break };
        match file.read_at(&mut buffer[done..], at) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // No file has bytes at an offset beyond i64::MAX.
            Err(_) if i64::try_from(at).is_err() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
