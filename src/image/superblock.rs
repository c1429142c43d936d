//! Detects the file system of a disk by its superblock.

use super::bytes::{array, be32, le16, le32, le64};

/// How much of a disk's begin is needed. The superblock of btrfs is the last, at 64 KiB.
pub const NEEDED_BYTES: usize = BTRFS + 4096;

/// The offset of the superblocks of ext, f2fs and erofs.
pub(super) const EXT: usize = 1024;
/// The offset of the superblock of btrfs.
pub(super) const BTRFS: usize = 64 << 10;

/// The compatible feature of ext for a journal.
pub(super) const HAS_JOURNAL: u32 = 0x4;

const ISO9660: usize = 32 << 10;

/// Tests a disk's begin for a file system. Returns its type as `mount -t` spells it.
type Probe = fn(&[u8]) -> Option<&'static str>;

const PROBES: [Probe; 8] = [ext, xfs, btrfs, f2fs, vfat, erofs, squashfs, iso9660];

/// Returns the type of the file system on a disk that begins with `start`, of which [`NEEDED_BYTES`] suffice.
///
/// Returns `None` if there is no known one, or if several match: a guess might mount the remains of an earlier file
/// system.
pub fn fstype(start: &[u8]) -> Option<&'static str> {
    let mut found = PROBES.iter().filter_map(|probe| probe(start));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// Returns how many bytes of this disk the file system of type `fstype` uses, according to its superblock. Returns
/// `None` if the superblock does not say, and `u64::MAX` if the number does not fit.
pub fn size_bytes(start: &[u8], fstype: &str) -> Option<u64> {
    const BITS_64: u32 = 0x80;

    let ext = start.get(EXT..).unwrap_or_default();
    let (count, unit) = match fstype {
        "ext2" | "ext3" | "ext4" => {
            let has_high = le32(ext, 96)? & BITS_64 != 0;
            let high = if has_high { le32(ext, 0x150)? } else { 0 };
            (u64::from(high) << 32 | u64::from(le32(ext, 4)?), 1024u64.checked_shl(le32(ext, 24)?)?)
        }
        "xfs" => (array(start, 8).map(u64::from_be_bytes)?, u64::from(be32(start, 4)?)),
        // The size of this device.
        "btrfs" => (le64(start.get(BTRFS..)?, 209)?, 1),
        "f2fs" => (le64(ext, 36)?, 1u64.checked_shl(le32(ext, 16)?)?),
        "vfat" => {
            let short = u32::from(le16(start, 19)?);
            let sectors = if short == 0 { le32(start, 32)? } else { short };
            (u64::from(sectors), u64::from(le16(start, 11)?))
        }
        "erofs" => {
            let [log] = array(ext, 12)?;
            (u64::from(le32(ext, 36)?), 1u64.checked_shl(u32::from(log))?)
        }
        "squashfs" => (le64(start, 40)?, 1),
        "iso9660" => {
            let volume = start.get(ISO9660..)?;
            (u64::from(le32(volume, 80)?), u64::from(le16(volume, 128)?))
        }
        _ => return None,
    };
    Some(count.saturating_mul(unit))
}

/// Returns `None` if a logarithm of a superblock is out of range.
fn is_log_of(range: std::ops::RangeInclusive<u32>, log: u32) -> Option<()> {
    range.contains(&log).then_some(())
}

/// Detects ext2, ext3 and ext4. They share the superblock and differ in its features.
fn ext(start: &[u8]) -> Option<&'static str> {
    const JOURNAL_DEVICE: u32 = 0x8;
    /// Filetype, recover, meta_bg.
    const INCOMPATIBLE_OF_EXT3: u32 = 0x2 | 0x4 | 0x10;
    /// Sparse_super, large_file, btree_dir.
    const READ_ONLY_OF_EXT3: u32 = 0x1 | 0x2 | 0x4;

    let superblock = start.get(EXT..)?;
    let (inodes, blocks) = (le32(superblock, 0)?, le32(superblock, 4)?);
    is_log_of(0..=6, le32(superblock, 24)?)?;
    if le16(superblock, 56)? != 0xef53 || inodes == 0 || blocks == 0 {
        return None;
    }
    let compatible = le32(superblock, 92)?;
    let incompatible = le32(superblock, 96)?;
    let read_only = le32(superblock, 100)?;
    if incompatible & JOURNAL_DEVICE != 0 {
        return None;
    }
    if incompatible & !INCOMPATIBLE_OF_EXT3 != 0 || read_only & !READ_ONLY_OF_EXT3 != 0 {
        return Some("ext4");
    }
    Some(if compatible & HAS_JOURNAL != 0 { "ext3" } else { "ext2" })
}

fn xfs(start: &[u8]) -> Option<&'static str> {
    let block = be32(start, 4)?;
    let sector = array(start, 102).map(u16::from_be_bytes)?;
    let sizes = block.is_power_of_two() && (512..=65536).contains(&block) && sector.is_power_of_two();
    (start.starts_with(b"XFSB") && sizes).then_some("xfs")
}

fn btrfs(start: &[u8]) -> Option<&'static str> {
    let superblock = start.get(BTRFS..)?;
    let is_first = le64(superblock, 48)? == BTRFS as u64;
    (array(superblock, 64)? == *b"_BHRfS_M" && is_first).then_some("btrfs")
}

fn f2fs(start: &[u8]) -> Option<&'static str> {
    let superblock = start.get(EXT..)?;
    is_log_of(9..=12, le32(superblock, 8)?)?;
    is_log_of(12..=16, le32(superblock, 16)?)?;
    (le32(superblock, 0)? == 0xf2f5_2010).then_some("f2fs")
}

/// Detects FAT in its three widths. An MBR and NTFS end with the same two bytes, so all parameters of FAT are
/// validated.
fn vfat(start: &[u8]) -> Option<&'static str> {
    let jump = matches!(start.first_chunk()?, [0xeb, _, 0x90] | [0xe9, _, _]);
    let signed = array(start, 510)? == [0x55, 0xaa];
    let sector = le16(start, 11)?;
    let [cluster] = array(start, 13)?;
    let reserved = le16(start, 14)?;
    let [tables] = array(start, 16)?;
    let root_entries = le16(start, 17)?;
    let sectors = u32::from(le16(start, 19)?).max(le32(start, 32)?);
    let [media] = array(start, 21)?;
    let (short_table, long_table) = (le16(start, 22)?, le32(start, 36)?);
    let sizes = sector.is_power_of_two()
        && (512..=4096).contains(&sector)
        && cluster.is_power_of_two()
        && reserved > 0
        && matches!(tables, 1 | 2)
        && sectors > u32::from(reserved)
        && (media == 0xf0 || media >= 0xf8);
    let is_fat32 = short_table == 0 && long_table > 0 && root_entries == 0;
    let is_fat16 = short_table > 0 && root_entries > 0;
    (jump && signed && sizes && (is_fat32 || is_fat16)).then_some("vfat")
}

fn erofs(start: &[u8]) -> Option<&'static str> {
    let superblock = start.get(EXT..)?;
    let [log] = array(superblock, 12)?;
    is_log_of(9..=16, u32::from(log))?;
    (le32(superblock, 0)? == 0xe0f5_e1e2).then_some("erofs")
}

fn squashfs(start: &[u8]) -> Option<&'static str> {
    is_log_of(12..=20, u32::from(le16(start, 22)?))?;
    (start.starts_with(b"hsqs") && le16(start, 28)? == 4).then_some("squashfs")
}

fn iso9660(start: &[u8]) -> Option<&'static str> {
    let volume = start.get(ISO9660..)?;
    (array(volume, 0)? == *b"\x01CD001\x01").then_some("iso9660")
}

#[cfg(test)]
#[path = "superblock_tests.rs"]
mod tests;
