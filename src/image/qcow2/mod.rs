//! qcow2: this library validates the header and the tables first. Only then imago reads the clusters.
//!
//! Decisions beyond the specification of the format:
//! - A backing file and an external data file are refused, whatever their names: a guest could read the host's files by
//!   them. Their names are not parsed.
//! - An image that is marked dirty (a crash with lazy refcounts) or corrupt is refused. Its reference counts are wrong,
//!   and a writer that trusts them overwrites data. The message has the command that repairs it.
//! - Internal snapshots are accepted. They are in the image, and a guest uses the current state.
//! - Extended L2 entries and zstd are accepted, because QEMU reads them. Imago does not, so the file system in such an
//!   image is not detected.

mod header;
mod read;
mod tables;

pub use header::{Header, MAGIC};

use super::inspect::ProbeResult;
use super::problem::Failure;
use super::superblock;
use std::fs::File;

/// Inspects an image of `length` bytes that begins with `head`.
pub(super) fn inspect(file: &File, head: &[u8], length: u64) -> Result<ProbeResult, Failure> {
    let header = Header::parse(head, length)?;
    let tables = tables::l2_tables(file, &header, length)?;
    tables::check_refcount_table(file, &header, length)?;
    tables::check_clusters(file, &header, length, tables)?;
    let mut start = Vec::new();
    if header.is_plain {
        let wanted = header.capacity_bytes.min(superblock::NEEDED_BYTES as u64);
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
