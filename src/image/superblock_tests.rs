use super::*;

fn with(pieces: &[(usize, &[u8])]) -> Vec<u8> {
    let mut start = vec![0; NEEDED_BYTES];
    for (at, bytes) in pieces {
        start[*at..at + bytes.len()].copy_from_slice(bytes);
    }
    start
}

fn ext_with(compatible: u32, incompatible: u32, read_only: u32) -> Vec<u8> {
    let features = [compatible, incompatible, read_only].map(u32::to_le_bytes).concat();
    with(&[(1024, &[1, 0, 0, 0, 1]), (1024 + 56, &[0x53, 0xef]), (1024 + 92, &features)])
}

fn fat(sector: u16, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let [low, high] = sector.to_le_bytes();
    let common: [(usize, &[u8]); 5] = [
        (0, &[0xeb, 0x3c, 0x90]),
        (11, &[low, high, 4, 1, 0, 2]),
        (19, &[0, 8]),
        (21, &[0xf8]),
        (510, &[0x55, 0xaa]),
    ];
    with(&[&common, fields].concat())
}

fn fat16() -> Vec<u8> {
    fat(512, &[(17, &[0, 2]), (22, &[8, 0])])
}

#[test]
fn the_features_distinguish_ext2_ext3_and_ext4() {
    assert_eq!(fstype(&ext_with(0, 0x2, 0x3)), Some("ext2"));
    assert_eq!(fstype(&ext_with(0x4, 0x2 | 0x4, 0x3)), Some("ext3"));
    assert_eq!(fstype(&ext_with(0x4, 0x40, 0)), Some("ext4"));
    assert_eq!(fstype(&ext_with(0, 0, 0x400)), Some("ext4"));
}

#[test]
fn rejects_a_journal_device_and_an_ext_superblock_without_sense() {
    assert_eq!(fstype(&ext_with(0, 0x8, 0)), None);
    let mut no_blocks = ext_with(0, 0, 0);
    no_blocks[1024 + 4] = 0;
    assert_eq!(fstype(&no_blocks), None);
    let mut huge_blocks = ext_with(0, 0, 0);
    huge_blocks[1024 + 24] = 7;
    assert_eq!(fstype(&huge_blocks), None);
}

#[test]
fn every_other_type_is_detected_by_its_superblock() {
    let xfs = with(&[(0, b"XFSB\0\0\x10\0"), (102, &[2, 0])]);
    let btrfs = with(&[(65536 + 48, &[0, 0, 1]), (65536 + 64, b"_BHRfS_M")]);
    let f2fs = with(&[(1024, &[0x10, 0x20, 0xf5, 0xf2]), (1032, &[9]), (1040, &[12])]);
    let erofs = with(&[(1024, &[0xe2, 0xe1, 0xf5, 0xe0]), (1036, &[12])]);
    let squashfs = with(&[(0, b"hsqs"), (22, &[17]), (28, &[4])]);
    let iso9660 = with(&[(32768, b"\x01CD001\x01")]);
    let fat32 = fat(512, &[(36, &[8])]);
    for (start, name) in [
        (xfs, "xfs"),
        (btrfs, "btrfs"),
        (f2fs, "f2fs"),
        (erofs, "erofs"),
        (squashfs, "squashfs"),
        (iso9660, "iso9660"),
        (fat16(), "vfat"),
        (fat32, "vfat"),
    ] {
        assert_eq!(fstype(&start), Some(name));
        for length in [0, 1, 3, 511, 1024, 1100, 32768] {
            // Cut short, it is known or unknown but nothing else.
            assert!([None, Some(name)].contains(&fstype(&start[..length])), "{name} of {length} bytes");
        }
    }
}

#[test]
fn rejects_what_only_ends_like_a_fat() {
    let mbr = with(&[(0, &[0xeb, 0x63, 0x90]), (446, &[0x80, 1, 1, 0, 0x83]), (510, &[0x55, 0xaa])]);
    assert_eq!(fstype(&mbr), None);
    let ntfs = fat(512, &[(3, b"NTFS    "), (14, &[0, 0, 0])]);
    assert_eq!(fstype(&ntfs), None);
    for (at, byte) in [(0, 0), (11, 1), (13, 3), (14, 0), (16, 0), (16, 9), (21, 0xf1), (22, 0), (510, 0)] {
        let mut broken = fat16();
        broken[at] = byte;
        assert_eq!(fstype(&broken), None, "byte {at} = {byte}");
    }
}

#[test]
fn rejects_a_disk_that_looks_like_several() {
    let mut both = ext_with(0, 0x40, 0);
    both[65536 + 48..65536 + 51].copy_from_slice(&[0, 0, 1]);
    both[65536 + 64..65536 + 72].copy_from_slice(b"_BHRfS_M");
    assert_eq!(fstype(&both), None);
}
