//! What every fuzz target does with an input, and what it holds of the result.

use sandbox_volumes::image::partitions::PartitionTable;
use sandbox_volumes::image::qcow2::Header;
use sandbox_volumes::image::vmdk::{Descriptor, SparseHeader};
use sandbox_volumes::image::{self, superblock};
use sandbox_volumes::model::DiskFormat;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::AsFd;
use std::path::Path;

const MOST_CAPACITY: u64 = 16 << 40;

/// Runs the target of that name.
pub fn run(target: &str, data: &[u8]) {
    match target {
        "qcow2_header" => qcow2_header(data),
        "vmdk_sparse" => vmdk_sparse(data),
        "vmdk_descriptor" => vmdk_descriptor(data),
        "superblock" => superblock(data),
        "inspect" => inspect(data),
        other => panic!("there is no target {other:?}"),
    }
}

/// Splits off the first bytes, the length of a file.
fn length(data: &[u8]) -> Option<(u64, &[u8])> {
    let (length, rest) = data.split_first_chunk()?;
    Some((u64::from_le_bytes(*length) & i64::MAX as u64, rest))
}

/// The length of the file, then its first bytes.
fn qcow2_header(data: &[u8]) {
    let Some((length, head)) = length(data) else { return };
    let Ok(header) = Header::parse(head, length) else { return };
    assert!((1..=MOST_CAPACITY).contains(&header.capacity_bytes));
    assert!((9..=21).contains(&header.cluster_bits));
    assert!(header.l1_offset + u64::from(header.l1_entries) * 8 <= length.next_multiple_of(1 << 21));
    assert_eq!(&head[8..16], &[0; 8], "a backing file");
}

/// The length of the file, then its first bytes, of which the second sector is taken for a footer, too.
fn vmdk_sparse(data: &[u8]) {
    let Some((length, head)) = length(data) else { return };
    let _ = SparseHeader::parse(head, length);
    let footer = head.get(512..).unwrap_or_default();
    if let Ok(header) = SparseHeader::parse_footer(head, footer, length) {
        assert!((1..=MOST_CAPACITY / 512).contains(&header.sectors));
        assert!(header.directory_at + header.directory_entries() * 4 <= length);
        assert!(
            header.descriptor.is_none_or(|place| place.end <= length && place.end - place.start <= 1 << 20)
        );
    }
}

fn vmdk_descriptor(data: &[u8]) {
    let Ok(descriptor) = Descriptor::parse(data) else { return };
    let _ = descriptor.check_embedded(8);
    let Ok(extents) = descriptor.separate_extents() else { return };
    assert!(extents.len() <= 256);
    assert!(extents.iter().map(|extent| extent.sectors).sum::<u64>() <= MOST_CAPACITY / 512);
    for extent in extents {
        assert!(!extent.name.contains(['/', '\\', ':', '\0', '\n']), "{:?}", extent.name);
        assert!(!["", ".", ".."].contains(&extent.name.as_str()));
    }
}

fn superblock(data: &[u8]) {
    let known = ["ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "erofs", "squashfs", "iso9660"];
    assert!(superblock::fstype(data).is_none_or(|name| known.contains(&name)));
    for name in known {
        // Bounded, whatever the file system is said to be.
        let _any_size = superblock::size_bytes(data, name);
    }
    if let Some(table) = PartitionTable::find(data, data.len() as u64) {
        assert!(table.partitions.len() <= 1024);
    }
}

/// A byte of choices, then an image beside which there are two files that may be its extents.
fn inspect(data: &[u8]) {
    let Some((choices, content)) = data.split_first() else { return };
    DIRECTORY.with(|directory| {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        if choices & 0x80 != 0 {
            // Tables in a hole.
            let end = file.stream_position().unwrap();
            file.set_len(end + (64 << 20)).unwrap();
        }
        let stated = match choices & 3 {
            0 => None,
            1 => Some(DiskFormat::Raw),
            2 => Some(DiskFormat::Qcow2),
            _ => Some(DiskFormat::Vmdk),
        };
        let opened = File::open(directory.path()).unwrap();
        if let Ok(found) = image::inspect(&file, Path::new("disk"), opened.as_fd(), stated) {
            assert!(found.capacity_bytes > 0);
            let parts = found.parts.map_or_else(Vec::new, |parts| parts.files);
            assert!(parts.iter().all(|extent| extent.file.metadata().unwrap().is_file()));
            assert!(stated.is_none_or(|stated| stated == found.format));
        }
    });
}

std::thread_local! {
    /// Holds a flat extent, "flat", and a sparse one, "sparse".
    static DIRECTORY: tempfile::TempDir = {
        let directory = tempfile::tempdir().unwrap();
        File::create(directory.path().join("flat")).unwrap().set_len(1 << 20).unwrap();
        File::create(directory.path().join("sparse")).unwrap().write_all(&sparse_extent()).unwrap();
        directory
    };
}

/// The smallest sparse extent: of 8 MiB, with an empty directory in its second sector.
fn sparse_extent() -> Vec<u8> {
    let mut file = vec![0; 1024];
    file[..5].copy_from_slice(b"KDMV\x01");
    for (at, value) in [(12, 16384u64), (20, 128), (44, 512), (56, 1)] {
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    file
}
