//! qcow2: our own checks of a header and its tables first, and only then imago, which reads what is in the clusters.
//!
//! Decisions beyond the letter of the format:
//! - A backing file and an external data file are refused, whatever they are called: they are how a guest would read
//!   the host's files. Their names are never looked at.
//! - An image that is marked dirty (lazy refcounts, and a crash) or corrupt is refused, with the command that repairs
//!   it: its reference counts are wrong, and a writer that trusts them overwrites data.
//! - Internal snapshots are fine. They live in the image, and attaching uses the current state.
//! - Extended L2 entries and zstd are fine, for QEMU reads them; imago does not, so the file system in such an image
//!   is not told.

mod header;
mod read;
mod tables;

pub use header::{Header, MAGIC};

use super::inspect::ProbeResult;
use super::problem::Failure;
use super::superblock;
use std::fs::File;

/// What the image is that begins with `head` and has `length` bytes.
pub(super) fn inspect(file: &File, head: &[u8], length: u64) -> Result<ProbeResult, Failure> {
    let header = Header::parse(head, length)?;
    let tables = tables::l2_tables(file, &header, length)?;
    tables::check_refcount_table(file, &header, length)?;
    tables::check_clusters(file, &header, length, tables)?;
    let mut start = Vec::new();
    if header.is_plain {
        let wanted = header.capacity_bytes.min(superblock::NEEDED as u64);
        start.resize(wanted as usize, 0);
        read::read_start(file, &mut start).map_err(|error| {
            Failure::Damaged(
                "is damaged: its data cannot be read. Check it with qemu-img check.".into(),
                error,
            )
        })?;
    }
    Ok(ProbeResult { capacity_bytes: header.capacity_bytes, start, parts: None, unwritable: None })
}
