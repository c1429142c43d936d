//! Files in memory, without a directory entry (`memfd_create`).

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Write};

/// Creates a file with this content in memory. It exists while it is open.
pub fn file_in_memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("sandbox-volumes", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}
