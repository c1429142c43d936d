//! Files that stand nowhere.

use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{self, Write};

/// A file with this content that no directory holds: it lasts as long as it is open.
pub fn file_in_memory(content: &[u8]) -> io::Result<File> {
    let mut file = File::from(memfd_create("sandbox-volumes", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(content)?;
    Ok(file)
}
