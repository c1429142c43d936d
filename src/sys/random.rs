//! Random bytes of the kernel.

use std::io;

/// Returns bytes of the kernel's cryptographic random number generator.
pub fn random_bytes<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Returns a random UUID: version 4, variant 1.
pub fn random_uuid() -> io::Result<[u8; 16]> {
    let mut bytes: [u8; 16] = random_bytes()?;
    bytes[6] = bytes[6] & 0x0F | 0x40;
    bytes[8] = bytes[8] & 0x3F | 0x80;
    Ok(bytes)
}
