//! Checks that a qcow2 image contains everything that its tables point to.

use super::Header;
use crate::image::bytes::{be64, read_up_to};
use crate::image::problem::Failure;
use std::fs::File;

/// How much of a table is read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// How much of all L2 tables is checked. With clusters of 64 KiB these map 512 GiB of data. The rest of a larger image is
/// not checked.
const MAX_L2_BYTES: u64 = 64 << 20;

/// The bits of an L1 or L2 entry that are an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// The bits of an entry of the reference count table that are an offset.
const REFCOUNT_OFFSET: u64 = !0x1ff;

/// The flags of an L2 entry for a compressed cluster, and for a cluster of zeros.
const COMPRESSED: u64 = 1 << 62;
const ZEROS: u64 = 1;

/// The bits of a subcluster map that mark subclusters with data.
const ALLOCATED: u64 = 0xffff_ffff;

/// Returns the offsets of all L2 tables, sorted and each once. Fails if one is outside the file. The header limits their
/// number.
pub fn l2_tables(file: &File, header: &Header, length: u64) -> Result<Vec<u64>, Failure> {
    let cluster = 1u64 << header.cluster_bits;
    let mut tables = Vec::new();
    each_entry(file, header.l1_offset, u64::from(header.l1_entries), |entry| {
        let offset = entry & OFFSET;
        if !offset.is_multiple_of(cluster) || offset >= length {
            return Err(missing("an L2 table lies outside it or between clusters"));
        }
        if offset != 0 {
            tables.push(offset);
        }
        Ok(())
    })?;
    tables.sort_unstable();
    tables.dedup();
    Ok(tables)
}

/// Fails if a block of reference counts is outside the file.
pub fn check_refcount_table(file: &File, header: &Header, length: u64) -> Result<(), Failure> {
    let cluster = 1u64 << header.cluster_bits;
    each_entry(file, header.refcount_offset, header.refcount_entries, |entry| {
        let offset = entry & REFCOUNT_OFFSET;
        match offset.is_multiple_of(cluster) && offset < length {
            true => Ok(()),
            false => Err(missing("reference counts lie outside it or between clusters")),
        }
    })
}

/// Fails if a cluster is outside the file. The file may end within the last cluster.
pub fn check_clusters(file: &File, header: &Header, length: u64, tables: Vec<u64>) -> Result<(), Failure> {
    let cluster = 1u64 << header.cluster_bits;
    let offset_bits = 62 - (header.cluster_bits - 8);
    let is_outside = |offset: u64| !offset.is_multiple_of(cluster) || offset >= length;
    let mut budget = MAX_L2_BYTES;
    for table in tables {
        let Some(left) = budget.checked_sub(cluster) else { break };
        budget = left;
        let mut data = None;
        each_entry(file, table, cluster / 8, |entry| {
            // In an extended table, each second entry is the subcluster map of the entry before.
            let (entry, has_data) = match (header.is_extended, data.take()) {
                (false, _) => (entry, entry & ZEROS == 0),
                (true, None) => {
                    data = Some(entry);
                    return Ok(());
                }
                (true, Some(data)) => (data, entry & ALLOCATED != 0),
            };
            let is_missing = match entry & COMPRESSED != 0 {
                true => entry & ((1 << offset_bits) - 1) >= length,
                false => has_data && is_outside(entry & OFFSET),
            };
            match is_missing {
                true => Err(missing("a cluster lies outside it or between clusters")),
                false => Ok(()),
            }
        })?;
    }
    Ok(())
}

/// Passes the entries of a table to `check`, as far as the file has them.
fn each_entry(
    file: &File,
    from: u64,
    count: u64,
    mut check: impl FnMut(u64) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut at, end) = (from, from.saturating_add(count.saturating_mul(8)));
    while at < end {
        let piece = read_up_to(file, at, (PIECE_BYTES as u64).min(end - at) as usize)?;
        // The file may end within the last cluster.
        if piece.is_empty() {
            break;
        }
        piece.chunks_exact(8).filter_map(|entry| be64(entry, 0)).try_for_each(&mut check)?;
        at += piece.len() as u64;
    }
    Ok(())
}

fn missing(what: &str) -> Failure {
    Failure::Invalid(format!("is damaged or not a whole copy: {what}. Check it with qemu-img check.").into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const LENGTH: u64 = 0x50000;

    fn header(is_extended: bool) -> Header {
        Header {
            capacity_bytes: 1 << 30,
            cluster_bits: 16,
            l1_offset: 0,
            l1_entries: 1,
            refcount_offset: 0,
            refcount_entries: 1,
            is_extended,
            is_plain: !is_extended,
        }
    }

    fn table(entries: &[u64]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        entries.iter().for_each(|entry| file.write_all(&entry.to_be_bytes()).unwrap());
        file
    }

    fn refused(checked: Result<(), Failure>) -> bool {
        match checked {
            Ok(()) => false,
            Err(Failure::Invalid(problem)) => problem.contains("not a whole copy"),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_l2_table_outside_the_image_or_between_clusters_is_refused() {
        let check = |entry| l2_tables(&table(&[entry]), &header(false), LENGTH);
        assert_eq!(check(0).unwrap(), [0; 0]);
        assert_eq!(check(1 << 63 | 0x40000).unwrap(), [0x40000]);
        for entry in [0x50000, 0x48000, 1 << 63 | 0x200, OFFSET] {
            assert!(refused(check(entry).map(drop)), "{entry:x}");
        }
    }

    #[test]
    fn reference_counts_outside_the_image_are_refused() {
        let check = |entry| check_refcount_table(&table(&[entry]), &header(false), LENGTH);
        for entry in [0, 0x40000] {
            check(entry).unwrap();
        }
        for entry in [0x50000, 0x48000, 1 << 63] {
            assert!(refused(check(entry)), "{entry:x}");
        }
    }

    #[test]
    fn a_cluster_outside_the_image_is_refused() {
        let check =
            |entries: &[u64], extended| check_clusters(&table(entries), &header(extended), LENGTH, vec![0]);
        for entry in [0, 1 << 63 | 0x40000, 0x90000 | ZEROS, COMPRESSED | 0x4ffff] {
            check(&[entry], false).unwrap();
        }
        for entry in [0x50000, 1 << 63 | 0x48000, COMPRESSED | 0x50000] {
            assert!(refused(check(&[entry], false)), "{entry:x}");
        }
        check(&[0x50000, ALLOCATED << 32, 0x40000, ALLOCATED], true).unwrap();
        assert!(refused(check(&[0x40000, ALLOCATED, 0x50000, 1], true)));
    }
}
