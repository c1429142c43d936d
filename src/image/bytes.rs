//! Numbers in bytes, and bytes in files, that may both end too early.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The `N` bytes at `at`, if there are so many.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// A big-endian number of 32 bits.
pub fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

/// A big-endian number of 64 bits.
pub fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_be_bytes)
}

/// A little-endian number of 16 bits.
pub fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// A little-endian number of 32 bits.
pub fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// A little-endian number of 64 bits.
pub fn le64(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

/// Reads at most `most` bytes from `offset`; fewer where the file ends.
pub fn read_up_to(file: &File, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; most];
    let read = fill(file, offset, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Fills `buffer` from `offset` and gives how much of it the file had.
pub fn fill(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        let Some(at) = offset.checked_add(done as u64) else { break };
        match file.read_at(&mut buffer[done..], at) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // No file is so long that there could be anything.
            Err(_) if i64::try_from(at).is_err() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
