//! Parses partition tables at the beginning of a disk.

use super::bytes::{array, le32, le64};

const SECTOR: u64 = 512;

/// The offset of an MBR's entries, their size, and the offset and bytes of its signature.
const MBR_ENTRIES: usize = 446;
const MBR_ENTRY_BYTES: usize = 16;
const MBR_SIGNATURE: (usize, [u8; 2]) = (510, [0x55, 0xaa]);

/// The type of the only partition of the protective MBR before a GPT.
const PROTECTIVE: u8 = 0xee;

const GPT_MAGIC: [u8; 8] = *b"EFI PART";

/// The sector sizes of a GPT.
const GPT_SECTORS: [usize; 2] = [512, 4096];

/// The entry sizes that are supported, and the limit of entries.
const GPT_ENTRY_BYTES: std::ops::RangeInclusive<usize> = 128..=4096;
const MAX_GPT_ENTRIES: usize = 1024;

/// How many partitions a message lists.
const MAX_LISTED: usize = 8;

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionTable {
    /// `MBR` or `GPT`.
    pub kind: &'static str,
    /// The partitions that could be read, in the order of the table.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The number in the table, from 1.
    pub number: usize,
    /// The offset in bytes.
    pub offset: u64,
    /// The size in bytes.
    pub bytes: u64,
}

impl PartitionTable {
    /// Finds the table of a disk of `capacity` bytes that begins with `start`. A GPT is returned without the entries that
    /// are beyond `start`.
    pub fn find(start: &[u8], capacity: u64) -> Option<Self> {
        GPT_SECTORS.into_iter().find_map(|sector| gpt(start, sector)).or_else(|| mbr(start, capacity))
    }

    /// Describes the problem of a disk with this table. The text completes the sentence that begins with its path.
    pub(super) fn problem(&self) -> String {
        let listed = self.partitions.iter().take(MAX_LISTED);
        let listed = listed.map(|Partition { number, offset, bytes }| {
            format!("partition {number} at byte {offset}, {bytes} bytes")
        });
        let mut listed: Vec<_> = listed.collect();
        match self.partitions.len().saturating_sub(MAX_LISTED) {
            0 => {}
            more => listed.push(format!("{more} more")),
        }
        let listed = match listed.is_empty() {
            true => "none that could be read".to_owned(),
            false => listed.join("; "),
        };
        format!(
            "has a partition table ({}) where a file system is expected: {listed}. Copy the partition that you want into \
             an image of its own, with dd for instance, and mount that.",
            self.kind
        )
    }
}

fn mbr(start: &[u8], capacity: u64) -> Option<PartitionTable> {
    let (at, signature) = MBR_SIGNATURE;
    if array(start, at)? != signature {
        return None;
    }
    let mut partitions = Vec::new();
    for number in 1..=4 {
        let entry = start.get(MBR_ENTRIES + (number - 1) * MBR_ENTRY_BYTES..)?;
        let [status, _, _, _, kind] = array(entry, 0)?;
        let (first, sectors) = (u64::from(le32(entry, 8)?), u64::from(le32(entry, 12)?));
        // The boot sector of a file system has the same signature, and code or text here.
        if !matches!(status, 0 | 0x80) {
            return None;
        }
        if kind == 0 {
            continue;
        }
        if first == 0 || sectors == 0 || (kind != PROTECTIVE && first * SECTOR >= capacity) {
            return None;
        }
        partitions.push(Partition { number, offset: first * SECTOR, bytes: sectors * SECTOR });
    }
    (!partitions.is_empty()).then_some(PartitionTable { kind: "MBR", partitions })
}

fn gpt(start: &[u8], sector: usize) -> Option<PartitionTable> {
    let header = start.get(sector..)?;
    if array(header, 0)? != GPT_MAGIC {
        return None;
    }
    let (entries_at, count, entry_bytes) = (le64(header, 72)?, le32(header, 80)?, le32(header, 84)?);
    let entry_bytes = entry_bytes as usize;
    let mut partitions = Vec::new();
    let entries_at = usize::try_from(entries_at).ok().and_then(|at| at.checked_mul(sector));
    let entries = entries_at.and_then(|at| start.get(at..)).unwrap_or_default();
    if GPT_ENTRY_BYTES.contains(&entry_bytes) {
        let count = (count as usize).min(MAX_GPT_ENTRIES);
        for (number, entry) in (1..=count).zip(entries.chunks_exact(entry_bytes)) {
            let is_used = array::<16>(entry, 0).is_some_and(|kind| kind != [0; 16]);
            let (Some(first), Some(last)) = (le64(entry, 32), le64(entry, 40)) else { continue };
            let sectors = last.checked_sub(first).and_then(|sectors| sectors.checked_add(1));
            let bytes = |sectors: u64| sectors.checked_mul(sector as u64);
            if let (true, Some(offset), Some(bytes)) = (is_used, bytes(first), sectors.and_then(bytes)) {
                partitions.push(Partition { number, offset, bytes });
            }
        }
    }
    Some(PartitionTable { kind: "GPT", partitions })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 64 << 20;

    fn with_mbr(entries: &[(u8, u8, u32, u32)]) -> Vec<u8> {
        let mut start = vec![0; 68 << 10];
        start[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (number, (status, kind, first, sectors)) in entries.iter().enumerate() {
            let entry = &mut start[MBR_ENTRIES + number * MBR_ENTRY_BYTES..];
            (entry[0], entry[4]) = (*status, *kind);
            entry[8..12].copy_from_slice(&first.to_le_bytes());
            entry[12..16].copy_from_slice(&sectors.to_le_bytes());
        }
        start
    }

    #[test]
    fn an_mbr_lists_its_partitions() {
        let found = PartitionTable::find(
            &with_mbr(&[(0x80, 0x83, 2048, 4096), (0, 0, 0, 0), (0, 5, 8192, 8)]),
            CAPACITY,
        );
        let first = Partition { number: 1, offset: 1 << 20, bytes: 2 << 20 };
        let third = Partition { number: 3, offset: 4 << 20, bytes: 4096 };
        let table = found.unwrap();
        assert_eq!((table.kind, &table.partitions[..]), ("MBR", &[first, third][..]));
        assert!(
            table
                .problem()
                .contains("partition 1 at byte 1048576, 2097152 bytes; partition 3 at byte 4194304")
        );
    }

    #[test]
    fn boot_code_is_not_an_mbr() {
        for entries in [
            &[][..],
            &[(0, 0, 0, 0)],
            &[(b'A', 0x83, 2048, 4096)],
            &[(0, 0x83, 0, 4096)],
            &[(0, 0x83, 2048, 0)],
            &[(0, 0x83, u32::MAX, 1)],
            &[(0, 0x83, 2048, 4096), (7, 0, 0, 0)],
        ] {
            assert_eq!(PartitionTable::find(&with_mbr(entries), CAPACITY), None, "{entries:?}");
        }
        let mut unsigned = with_mbr(&[(0x80, 0x83, 2048, 4096)]);
        unsigned[510] = 0;
        assert_eq!(PartitionTable::find(&unsigned, CAPACITY), None);
        for length in 0..512 {
            assert_eq!(PartitionTable::find(&with_mbr(&[(0, 0x83, 2048, 8)])[..length], CAPACITY), None);
        }
    }

    fn with_gpt(sector: usize) -> Vec<u8> {
        let mut start = with_mbr(&[(0, PROTECTIVE, 1, u32::MAX)]);
        start[sector..sector + 8].copy_from_slice(&GPT_MAGIC);
        start[sector + 72..sector + 80].copy_from_slice(&2u64.to_le_bytes());
        start[sector + 80..sector + 84].copy_from_slice(&128u32.to_le_bytes());
        start[sector + 84..sector + 88].copy_from_slice(&128u32.to_le_bytes());
        let entry = 2 * sector + 128;
        start[entry] = 1;
        start[entry + 32..entry + 40].copy_from_slice(&2048u64.to_le_bytes());
        start[entry + 40..entry + 48].copy_from_slice(&4095u64.to_le_bytes());
        start
    }

    #[test]
    fn a_gpt_counts_before_the_mbr_that_protects_it() {
        for sector in GPT_SECTORS {
            let table = PartitionTable::find(&with_gpt(sector), CAPACITY).unwrap();
            let unit = sector as u64;
            let second = Partition { number: 2, offset: 2048 * unit, bytes: 2048 * unit };
            assert_eq!((table.kind, &table.partitions[..]), ("GPT", &[second][..]));
        }
    }

    #[test]
    fn a_gpt_with_impossible_entries_is_one_without() {
        for (at, value) in [(72, u64::MAX), (72, 1 << 40), (84, 0), (84, 7 << 32)] {
            let mut start = with_gpt(512);
            start[512 + at..][..8].copy_from_slice(&value.to_le_bytes());
            let table = PartitionTable::find(&start, CAPACITY).unwrap();
            assert_eq!((table.kind, table.partitions.len()), ("GPT", 0), "{at}");
            assert!(table.problem().contains("none that could be read"));
        }
        let mut backwards = with_gpt(512);
        backwards[1152 + 40..1152 + 48].copy_from_slice(&[0; 8]);
        assert_eq!(PartitionTable::find(&backwards, CAPACITY).unwrap().partitions, []);
    }
}
