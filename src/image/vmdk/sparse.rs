//! Parses the header of a vmdk's sparse file.

use super::{SECTOR, descriptor};
use crate::image::bytes::{array, le16, le32, le64};
use crate::image::inspect::MAX_CAPACITY_BYTES;
use crate::image::problem::ImageProblem;
use std::ops::Range;

/// The first bytes of a sparse file.
pub const MAGIC: [u8; 4] = *b"KDMV";

/// The number of entries of a grain table. VMware writes no other number.
const TABLE_ENTRIES: u64 = 512;

/// The sectors of a grain: 4 KiB to 1 MiB.
const GRAIN_SECTORS: std::ops::RangeInclusive<u64> = 8..=2048;

/// The header's fields for the offsets of both grain directories.
const DIRECTORIES: Range<usize> = 48..64;

/// The offset of the grain directory if only the footer has it.
const IN_FOOTER: u64 = u64::MAX;

/// Bits of the flags.
mod flag {
    pub const NEWLINES: u32 = 1 << 0;
    pub const SECOND_DIRECTORY: u32 = 1 << 1;
    pub const ZERO_GRAINS: u32 = 1 << 2;
    pub const COMPRESSED: u32 = 1 << 16;
}

/// The fields of a valid header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseHeader {
    /// The size of the disk or of this segment, in sectors.
    pub sectors: u64,
    /// The size of a grain, the unit of allocation, in sectors.
    pub grain_sectors: u64,
    /// The offset of the grain directory, in bytes.
    pub directory_at: u64,
    /// Whether grains are compressed.
    pub is_compressed: bool,
    /// Whether the table entry 1 means a grain of zeros.
    pub has_zero_grains: bool,
    /// The range of the embedded descriptor in the file, if there is one. It begins in the sector after the header: all
    /// programs write it there, and QEMU reads it there whatever the header says.
    pub descriptor: Option<Range<u64>>,
}

/// A header, or the offset of the footer that replaces it.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The header.
    Header(SparseHeader),
    /// The file was written as a stream. The footer at this offset has the directory's offset.
    FooterAt(u64),
}

impl SparseHeader {
    /// Returns the number of entries of the grain directory.
    pub fn directory_entries(&self) -> u64 {
        self.sectors.div_ceil(self.grain_sectors * TABLE_ENTRIES)
    }

    /// Returns a grain's index in the directory, and its index in that table.
    pub fn grain_indices(grain: u64) -> (u64, u64) {
        (grain / TABLE_ENTRIES, grain % TABLE_ENTRIES)
    }

    /// Parses the header of a file of `length` bytes that begins with `head`.
    pub fn parse(head: &[u8], length: u64) -> Result<Parsed, ImageProblem> {
        let field = |at| le64(head, at).ok_or(TRUNCATED);
        if field(56)? != IN_FOOTER {
            return parse(head, length).map(Parsed::Header);
        }
        check_magic_and_version(head)?;
        // The footer is followed by the sector that ends the stream.
        let at = length.checked_sub(2 * SECTOR).filter(|at| *at > 0 && at.is_multiple_of(SECTOR));
        at.map(Parsed::FooterAt).ok_or(TRUNCATED)
    }

    /// Parses the header of a file whose footer has the directory's offset. Both must describe the same disk.
    pub fn parse_footer(head: &[u8], footer: &[u8], length: u64) -> Result<Self, ImageProblem> {
        let same = |range: Range<usize>| {
            let stated = head.get(range.clone()).ok_or(TRUNCATED)?;
            Ok::<_, ImageProblem>(stated == footer.get(range).ok_or(TRUNCATED)?)
        };
        // From the magic to the grain size; the entries per table; the compression.
        if !same(0..28)? || !same(44..48)? || !same(77..79)? {
            return Err("is damaged: its header and its footer contradict each other".into());
        }
        let mut header: [u8; SECTOR as usize] = array(head, 0).ok_or(TRUNCATED)?;
        header[DIRECTORIES].copy_from_slice(footer.get(DIRECTORIES).ok_or(TRUNCATED)?);
        parse(&header, length)
    }
}

const TRUNCATED: ImageProblem =
    ImageProblem::Borrowed("ends too early for a vmdk image. Get a whole copy of it.");

fn check_magic_and_version(header: &[u8]) -> Result<(), ImageProblem> {
    if !header.starts_with(&MAGIC) {
        return Err("is not a sparse vmdk file".into());
    }
    let version = le32(header, 4).ok_or(TRUNCATED)?;
    match version {
        1..=3 => Ok(()),
        _ => Err(format!("is a vmdk image of version {version}; only 1 to 3 are known").into()),
    }
}

fn parse(header: &[u8], length: u64) -> Result<SparseHeader, ImageProblem> {
    check_magic_and_version(header)?;
    if header.len() < SECTOR as usize {
        return Err(TRUNCATED);
    }
    let field = |at| le64(header, at).ok_or(TRUNCATED);
    let flags = le32(header, 8).ok_or(TRUNCATED)?;
    if flags & flag::NEWLINES != 0 && array(header, 73) != Some(*b"\n \r\n") {
        return Err("is damaged: something converted its line ends, as a transfer as text does".into());
    }
    let compression = le16(header, 77).ok_or(TRUNCATED)?;
    let is_compressed = flags & flag::COMPRESSED != 0;
    if !matches!((is_compressed, compression), (true, 1) | (false, 0)) {
        return Err(format!("is compressed in a way that is not known here (type {compression})").into());
    }

    let (sectors, grain_sectors) = (field(12)?, field(20)?);
    if sectors == 0 {
        return Err("has no size of its own: it refers to other files, which are not opened".into());
    }
    if sectors > MAX_CAPACITY_BYTES / SECTOR {
        return Err(format!("is a disk of {sectors} sectors, more than the 16 TiB that are supported").into());
    }
    if !GRAIN_SECTORS.contains(&grain_sectors)
        || !grain_sectors.is_power_of_two()
        || u64::from(le32(header, 44).ok_or(TRUNCATED)?) != TABLE_ENTRIES
    {
        return Err("has grains or grain tables of an impossible size".into());
    }

    let mut facts = SparseHeader {
        sectors,
        grain_sectors,
        directory_at: 0,
        is_compressed,
        has_zero_grains: flags & flag::ZERO_GRAINS != 0,
        descriptor: None,
    };
    let directory_bytes = facts.directory_entries() * 4;
    let place = |sector: u64, bytes: u64| {
        let start = sector.checked_mul(SECTOR).filter(|start| *start > 0);
        let end = start.and_then(|start| start.checked_add(bytes)).filter(|end| *end <= length);
        match (start, end) {
            (Some(start), Some(end)) => Ok(start..end),
            _ => Err(ImageProblem::from("is damaged: its tables lie outside it")),
        }
    };
    let directory = place(field(56)?, directory_bytes)?;
    if flags & flag::SECOND_DIRECTORY != 0 {
        place(field(48)?, directory_bytes)?;
    }
    // The offset of the first grain. A shorter file is truncated.
    place(1, field(64)?.saturating_mul(SECTOR).saturating_sub(SECTOR))?;
    let (at, size) = (field(28)?, field(36)?);
    if at != 0 && size != 0 {
        if size > descriptor::MAX_BYTES / SECTOR {
            return Err(descriptor::TOO_LONG.into());
        }
        if at != 1 {
            return Err("has its descriptor in an unusual place".into());
        }
        let text = place(at, size * SECTOR)?;
        if text.start < directory.end && directory.start < text.end {
            return Err("is damaged: its descriptor and its tables overlap".into());
        }
        facts.descriptor = Some(text);
    }
    facts.directory_at = directory.start;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: u64 = 0x20000;

    /// A header of 1 GiB as qemu-img writes it: the descriptor in sectors 1 to 20, then the directories.
    fn good() -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(&MAGIC);
        for (at, value) in [(4, 1u32), (8, 3), (44, 512)] {
            head[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        for (at, value) in [(12, 1u64 << 21), (20, 128), (28, 1), (36, 20), (48, 21), (56, 26), (64, 128)] {
            head[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        head[73..77].copy_from_slice(b"\n \r\n");
        head
    }

    fn with(at: usize, bytes: &[u8]) -> Result<Parsed, ImageProblem> {
        let mut head = good();
        head[at..at + bytes.len()].copy_from_slice(bytes);
        SparseHeader::parse(&head, LENGTH)
    }

    #[track_caller]
    fn rejected(parsed: Result<Parsed, ImageProblem>, because: &str) {
        let problem = parsed.unwrap_err();
        assert!(problem.contains(because), "{problem}");
    }

    fn good_header() -> SparseHeader {
        SparseHeader {
            sectors: 1 << 21,
            grain_sectors: 128,
            directory_at: 26 * 512,
            is_compressed: false,
            has_zero_grains: false,
            descriptor: Some(512..21 * 512),
        }
    }

    #[test]
    fn a_good_header_is_parsed() {
        assert_eq!(SparseHeader::parse(&good(), LENGTH), Ok(Parsed::Header(good_header())));
        assert_eq!(good_header().directory_entries(), 32);
    }

    #[test]
    fn a_footer_counts_where_the_header_says_so_and_must_agree() {
        let mut head = good();
        head[56..64].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(SparseHeader::parse(&head, LENGTH), Ok(Parsed::FooterAt(LENGTH - 1024)));
        rejected(SparseHeader::parse(&head, LENGTH - 1), "too early");
        rejected(SparseHeader::parse(&head, 1024), "too early");
        assert_eq!(SparseHeader::parse_footer(&head, &good(), LENGTH), Ok(good_header()));
        let problem = SparseHeader::parse_footer(&head, &head, LENGTH).unwrap_err();
        assert!(problem.contains("outside"), "{problem}");
        for at in [0, 4, 8, 12, 20, 44, 77] {
            let mut footer = good();
            footer[at] ^= 1;
            let problem = SparseHeader::parse_footer(&head, &footer, LENGTH).unwrap_err();
            assert!(problem.contains("contradict"), "byte {at}: {problem}");
        }
    }

    #[test]
    fn rejects_a_file_that_refers_to_others() {
        rejected(with(12, &[0; 8]), "refers to other files");
    }

    #[test]
    fn rejects_versions_sizes_and_compressions_that_are_unknown() {
        for version in [0, 4, 255] {
            rejected(with(4, &[version]), "only 1 to 3");
        }
        rejected(with(12, &[0xff; 8]), "16 TiB");
        for grain in [0u64, 4, 129, 4096, u64::MAX] {
            rejected(with(20, &grain.to_le_bytes()), "impossible size");
        }
        rejected(with(44, &[0; 4]), "impossible size");
        rejected(with(77, &[1]), "type 1");
        rejected(with(10, &[1]), "type 0");
    }

    #[test]
    fn rejects_tables_outside_the_file_or_over_the_descriptor() {
        for sector in [0, LENGTH / 512, u64::MAX / 512, u64::MAX - 1] {
            rejected(with(56, &sector.to_le_bytes()), "outside");
            rejected(with(48, &sector.to_le_bytes()), "outside");
        }
        rejected(with(56, &[20]), "overlap");
        rejected(with(36, &[0xff, 0x10]), "descriptor of more than 1 MiB");
        rejected(with(36, &[0xff]), "overlap");
        rejected(with(28, &[2]), "unusual place");
        for sectors in [LENGTH / 512 + 1, u64::MAX] {
            rejected(with(64, &sectors.to_le_bytes()), "outside");
        }
    }

    #[test]
    fn rejects_converted_line_ends_and_a_header_cut_short() {
        rejected(with(75, b"\n"), "line ends");
        for length in 0..512 {
            SparseHeader::parse(&good()[..length], LENGTH).unwrap_err();
        }
    }
}
