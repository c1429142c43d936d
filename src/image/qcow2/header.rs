//! Parses the header of a qcow2 image.

use crate::image::bytes::{be32, be64};
use crate::image::inspect::MAX_CAPACITY_BYTES;
use crate::image::problem::ImageProblem;
use std::ops::{Range, RangeInclusive};

/// The first bytes of a qcow2 image.
pub const MAGIC: [u8; 4] = *b"QFI\xfb";

const LENGTH_OF_2: u32 = 72;
const LENGTH_OF_3: u32 = 104;

/// The logarithms of the cluster sizes that QEMU accepts.
const CLUSTER_BITS: RangeInclusive<u32> = 9..=21;
const SNAPSHOT_BYTES: u64 = 40;
const FEATURE_NAME_BYTES: u32 = 48;

/// Bits of the incompatible features.
mod feature {
    pub const DIRTY: u64 = 1 << 0;
    pub const CORRUPT: u64 = 1 << 1;
    pub const EXTERNAL_DATA: u64 = 1 << 2;
    pub const COMPRESSION_TYPE: u64 = 1 << 3;
    pub const EXTENDED_L2: u64 = 1 << 4;
    pub const KNOWN: u64 = DIRTY | CORRUPT | EXTERNAL_DATA | COMPRESSION_TYPE | EXTENDED_L2;
}

/// Types of header extensions.
mod extension {
    pub const END: u32 = 0;
    pub const EXTERNAL_DATA: u32 = 0x4441_5441;
    pub const FEATURE_NAMES: u32 = 0x6803_f857;
    pub const ENCRYPTION: u32 = 0x0537_be77;
}

/// The fields of a valid header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The size of the disk in bytes.
    pub capacity_bytes: u64,
    /// The logarithm of the size of a cluster.
    pub cluster_bits: u32,
    /// The offset of the L1 table.
    pub l1_offset: u64,
    /// The number of entries of the L1 table.
    pub l1_entries: u32,
    /// The offset of the reference count table.
    pub refcount_offset: u64,
    /// The number of entries of the reference count table.
    pub refcount_entries: u64,
    /// Whether L2 entries have a map of subclusters.
    pub is_extended: bool,
    /// Whether the image has neither extended L2 entries nor a compression type.
    pub is_plain: bool,
}

impl Header {
    /// Parses the header of an image of `length` bytes that begins with `head`.
    pub fn parse(head: &[u8], length: u64) -> Result<Self, ImageProblem> {
        if !head.starts_with(&MAGIC) {
            return Err("is not a qcow2 image".into());
        }
        let word = |at| be32(head, at).ok_or(TRUNCATED);
        let long = |at| be64(head, at).ok_or(TRUNCATED);

        let version = word(4)?;
        if !matches!(version, 2 | 3) {
            return Err(format!(
                "is a qcow image of version {version}; only 2 and 3 are known. If you trust it, convert it \
                 with qemu-img convert -O qcow2."
            )
            .into());
        }
        let incompatible = if version == 3 { long(72)? } else { 0 };
        check_references(long(8)?, incompatible)?;
        check_features(incompatible)?;
        if word(32)? != 0 {
            return Err(ENCRYPTED.into());
        }

        let cluster_bits = word(20)?;
        let extended = incompatible & feature::EXTENDED_L2 != 0;
        if !CLUSTER_BITS.contains(&cluster_bits) || (extended && cluster_bits < 14) {
            return Err(format!("has clusters of an impossible size, 2^{cluster_bits} bytes").into());
        }
        let cluster = 1u64 << cluster_bits;
        let refcount_order = if version == 3 { word(96)? } else { 4 };
        if refcount_order > 6 {
            return Err(format!("has reference counts of an impossible size, 2^{refcount_order} bits").into());
        }
        let header_length = if version == 3 { word(100)? } else { LENGTH_OF_2 };
        check_header_length(version, header_length, cluster)?;
        check_compression(head, header_length, incompatible)?;
        check_extensions(head, header_length, cluster)?;

        let header = Header {
            capacity_bytes: long(24)?,
            cluster_bits,
            l1_offset: long(40)?,
            l1_entries: word(36)?,
            refcount_offset: long(48)?,
            refcount_entries: (u64::from(word(56)?) << cluster_bits) / 8,
            is_extended: extended,
            is_plain: incompatible & (feature::EXTENDED_L2 | feature::COMPRESSION_TYPE) == 0,
        };
        check_capacity(&header, extended)?;
        let tables = TableBounds { cluster, length };
        tables.check([
            (L1_TABLE, header.l1_offset, u64::from(header.l1_entries) * 8),
            (REFCOUNT_TABLE, long(48)?, u64::from(word(56)?) << cluster_bits),
            (SNAPSHOT_TABLE, long(64)?, u64::from(word(60)?) * SNAPSHOT_BYTES),
        ])?;
        Ok(header)
    }
}

const TRUNCATED: ImageProblem =
    ImageProblem::Borrowed("ends within its qcow2 header. Get a whole copy of it.");
const ENCRYPTED: &str = "is encrypted, which is not supported. Decrypt it with qemu-img convert first.";
const LONG_EXTENSIONS: &str = "has header extensions that are longer than its first cluster";
const BACKING_FILE: &str = "has a backing file, which is not opened: the author of the image could name any file of \
                            the host. If you trust it, make it one file with qemu-img convert -O qcow2.";
const EXTERNAL_DATA: &str = "keeps its data in another file, which is not opened: the author of the image could name \
                             any file of the host. If you trust it, make it one file with qemu-img convert -O qcow2.";

/// Refuses fields that make a reader open another file.
fn check_references(backing_offset: u64, incompatible: u64) -> Result<(), ImageProblem> {
    match (backing_offset, incompatible & feature::EXTERNAL_DATA) {
        (0, 0) => Ok(()),
        (0, _) => Err(EXTERNAL_DATA.into()),
        _ => Err(BACKING_FILE.into()),
    }
}

fn check_features(incompatible: u64) -> Result<(), ImageProblem> {
    let unknown = incompatible & !feature::KNOWN;
    if unknown != 0 {
        return Err(format!(
            "needs features of qcow2 that are not known here (bits {unknown:#x}). If you trust it, convert it \
             with qemu-img convert -O qcow2."
        )
        .into());
    }
    if incompatible & feature::CORRUPT != 0 {
        return Err("is marked as corrupt. Repair it with qemu-img check -r all.".into());
    }
    if incompatible & feature::DIRTY != 0 {
        return Err(
            "was not closed properly and is marked as dirty. Repair it with qemu-img check -r all.".into()
        );
    }
    Ok(())
}

fn check_header_length(version: u32, header_length: u32, cluster: u64) -> Result<(), ImageProblem> {
    let minimum = if version == 3 { LENGTH_OF_3 } else { LENGTH_OF_2 };
    if header_length < minimum || u64::from(header_length) > cluster || !header_length.is_multiple_of(8) {
        return Err(format!("has a header of an impossible length, {header_length} bytes").into());
    }
    Ok(())
}

/// Accepts type 0 (zlib) without the feature bit, and type 1 (zstd) with it.
fn check_compression(head: &[u8], header_length: u32, incompatible: u64) -> Result<(), ImageProblem> {
    let compression = match header_length > LENGTH_OF_3 {
        true => *head.get(LENGTH_OF_3 as usize).ok_or(TRUNCATED)?,
        false => 0,
    };
    let has_feature = incompatible & feature::COMPRESSION_TYPE != 0;
    match (compression, has_feature) {
        (0, false) | (1, true) => Ok(()),
        _ => Err(format!("is compressed in a way that is not known here (type {compression})").into()),
    }
}

/// Checks the header extensions, which end within the first cluster. Each has at least eight bytes, so the loop ends.
fn check_extensions(head: &[u8], header_length: u32, cluster: u64) -> Result<(), ImageProblem> {
    let mut at = u64::from(header_length);
    // Without extensions, the header may fill the first cluster.
    while at + 8 <= cluster {
        let place = at as usize;
        let (kind, length) = (be32(head, place).ok_or(TRUNCATED)?, be32(head, place + 4).ok_or(TRUNCATED)?);
        // QEMU checks the length of the end marker too.
        if u64::from(length) > cluster - at - 8 {
            return Err(LONG_EXTENSIONS.into());
        }
        match kind {
            extension::END => return Ok(()),
            extension::EXTERNAL_DATA => return Err(EXTERNAL_DATA.into()),
            extension::ENCRYPTION => return Err(ENCRYPTED.into()),
            // Imago panics on an incomplete name.
            extension::FEATURE_NAMES if !length.is_multiple_of(FEATURE_NAME_BYTES) => {
                return Err("is damaged: its table of feature names is cut off".into());
            }
            _ => at += 8 + u64::from(length).next_multiple_of(8),
        }
    }
    match at <= cluster {
        true => Ok(()),
        false => Err(LONG_EXTENSIONS.into()),
    }
}

fn check_capacity(header: &Header, extended: bool) -> Result<(), ImageProblem> {
    let bytes = header.capacity_bytes;
    if bytes == 0 {
        return Err("is a disk of no bytes".into());
    }
    if !bytes.is_multiple_of(512) {
        return Err(format!("is a disk of {bytes} bytes, which are no whole sectors").into());
    }
    if bytes > MAX_CAPACITY_BYTES {
        return Err(format!("is a disk of {bytes} bytes, more than the 16 TiB that are supported").into());
    }
    let entry_bits = if extended { 4 } else { 3 };
    let bits_of_l1_entry = 2 * header.cluster_bits - entry_bits;
    if u64::from(header.l1_entries) < bytes.div_ceil(1 << bits_of_l1_entry) {
        return Err(format!("has an L1 table too short for a disk of {bytes} bytes").into());
    }
    Ok(())
}

/// A table's name, and the largest size in bytes that QEMU accepts.
type Table = (&'static str, u64);

const L1_TABLE: Table = ("L1 table", 32 << 20);
const REFCOUNT_TABLE: Table = ("reference count table", 8 << 20);
const SNAPSHOT_TABLE: Table = ("snapshot table", 65536 * SNAPSHOT_BYTES);

/// The sizes that bound the tables.
struct TableBounds {
    cluster: u64,
    length: u64,
}

impl TableBounds {
    /// Checks that each table, given with offset and size, is in clusters of its own within the file.
    fn check(&self, of: [(Table, u64, u64); 3]) -> Result<(), ImageProblem> {
        let header = 0..self.cluster;
        let mut places = vec![header];
        for ((name, limit), offset, bytes) in of {
            // Without snapshots there is no table, but QEMU checks its offset.
            if name == SNAPSHOT_TABLE.0 && bytes == 0 {
                match offset.is_multiple_of(self.cluster) && i64::try_from(offset).is_ok() {
                    true => continue,
                    false => return Err(misplaced(name)),
                }
            }
            if bytes == 0 || bytes > limit {
                return Err(format!("has a {name} of an impossible size").into());
            }
            places.push(self.place(offset, bytes).ok_or_else(|| misplaced(name))?);
        }
        places.sort_by_key(|place| place.start);
        match places.windows(2).all(|pair| pair[0].end <= pair[1].start) {
            true => Ok(()),
            false => Err("is damaged: its tables overlap".into()),
        }
    }

    /// Returns the range of a table, or `None` if it is not in the file. The file may end within its last cluster.
    fn place(&self, offset: u64, bytes: u64) -> Option<Range<u64>> {
        let limit = self.length.div_ceil(self.cluster).saturating_mul(self.cluster);
        let end = offset.checked_add(bytes).filter(|end| *end <= limit)?;
        (offset > 0 && offset.is_multiple_of(self.cluster) && offset < self.length).then_some(offset..end)
    }
}

fn misplaced(name: &str) -> ImageProblem {
    format!("is damaged: its {name} lies outside it or between clusters").into()
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
