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

pub use header::{Header, MAGIC};

use super::bytes::{be64, read_up_to};
use super::failure::{Failure, Problem};
use super::inspect::Facts;
use super::superblock;
use std::fs::File;

/// How much of an L1 table is checked at a time.
const PIECE: usize = 64 << 10;

/// An L1 entry's bits that hold an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// What the image is that begins with `head` and has `length` bytes.
pub(super) fn inspect(file: &File, head: &[u8], length: u64) -> Result<Facts, Failure> {
    let header = Header::parse(head, length)?;
    check_l1_table(file, &header, length)?;
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
    Ok(Facts { capacity_bytes: header.capacity_bytes, start, parts: None })
}

/// Holds every L2 table's place against the file. The header's check bounds the number of entries.
fn check_l1_table(file: &File, header: &Header, length: u64) -> Result<(), Failure> {
    let (mut at, end) = (header.l1_offset, header.l1_offset + u64::from(header.l1_entries) * 8);
    while at < end {
        let piece = read_up_to(file, at, PIECE.min((end - at) as usize))?;
        if piece.is_empty() {
            return Err(Failure::Unfit("became shorter while it was read".into()));
        }
        check_entries(&piece, header.cluster_bits, length)?;
        at += piece.len() as u64;
    }
    Ok(())
}

fn check_entries(entries: &[u8], cluster_bits: u32, length: u64) -> Result<(), Problem> {
    let offsets = entries.chunks_exact(8).filter_map(|entry| be64(entry, 0)).map(|entry| entry & OFFSET);
    let in_cluster = (1 << cluster_bits) - 1;
    for offset in offsets {
        if offset & in_cluster != 0 || offset >= length {
            return Err(
                "is damaged: an L2 table lies outside it or between clusters. Check it with qemu-img \
                        check."
                    .into(),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_an_l2_table_outside_the_image_or_between_clusters() {
        let check = |entry: u64| check_entries(&entry.to_be_bytes(), 16, 0x50000);
        check(0).unwrap();
        check(1 << 63 | 0x40000).unwrap();
        for entry in [0x50000, 0x48000, 1 << 63 | 0x200, OFFSET] {
            assert!(check(entry).unwrap_err().contains("L2 table"), "{entry:x}");
        }
    }
}
