//! File systems in images, made by their own tools and packed by qemu-img.

use super::{inspect, qemu_img, run};
use std::fs::{self, File};
use std::path::Path;

/// How a file system is made into `disk.raw`, which is a file of the size given.
type Recipe = (&'static str, u64, &'static [&'static [&'static str]]);

const MIB: u64 = 1 << 20;

const RECIPES: [Recipe; 13] = [
    ("ext2", 8 * MIB, &[&["mkfs.ext2", "-q", "disk.raw"]]),
    ("ext3", 8 * MIB, &[&["mkfs.ext3", "-q", "disk.raw"]]),
    ("ext4", 16 * MIB, &[&["mkfs.ext4", "-q", "disk.raw"]]),
    ("ext4", 16 * MIB, &[&["mkfs.ext4", "-q", "-O", "^has_journal", "-b", "1024", "disk.raw"]]),
    ("xfs", 320 * MIB, &[&["mkfs.xfs", "-q", "disk.raw"]]),
    ("btrfs", 128 * MIB, &[&["mkfs.btrfs", "-q", "disk.raw"]]),
    ("f2fs", 64 * MIB, &[&["mkfs.f2fs", "-q", "disk.raw"]]),
    ("vfat", MIB, &[&["mkfs.vfat", "-F", "12", "disk.raw"]]),
    ("vfat", 16 * MIB, &[&["mkfs.vfat", "-F", "16", "disk.raw"]]),
    ("vfat", 64 * MIB, &[&["mkfs.vfat", "-F", "32", "disk.raw"]]),
    ("squashfs", 0, &[&["rm", "disk.raw"], &["mksquashfs", "content", "disk.raw", "-quiet", "-no-progress"]]),
    ("erofs", 0, &[&["rm", "disk.raw"], &["mkfs.erofs", "--quiet", "disk.raw", "content"]]),
    (
        "iso9660",
        0,
        &[&["rm", "disk.raw"], &["xorriso", "-as", "mkisofs", "-quiet", "-o", "disk.raw", "content"]],
    ),
];

/// The formats and options of qemu-img under which it is looked at again.
const PACKED: [(&str, &[&str]); 9] = [
    ("qcow2", &[]),
    ("qcow2", &["-c"]),
    ("qcow2", &["-o", "compat=0.10,cluster_size=512"]),
    ("qcow2", &["-o", "cluster_size=2M"]),
    ("vmdk", &["-o", "subformat=monolithicSparse"]),
    ("vmdk", &["-o", "subformat=streamOptimized"]),
    ("vmdk", &["-o", "subformat=monolithicFlat"]),
    ("vmdk", &["-o", "subformat=twoGbMaxExtentFlat"]),
    ("vmdk", &["-o", "subformat=twoGbMaxExtentSparse"]),
];

fn make(dir: &Path, size: u64, steps: &[&[&str]]) -> bool {
    fs::create_dir(dir.join("content")).unwrap();
    fs::write(dir.join("content/file"), "content").unwrap();
    File::create(dir.join("disk.raw")).unwrap().set_len(size).unwrap();
    steps.iter().all(|step| run(dir, step[0], &step[1..]))
}

#[test]
fn a_file_system_is_told_in_every_format() {
    for (fstype, size, steps) in RECIPES {
        let dir = tempfile::tempdir().unwrap();
        if !make(dir.path(), size, steps) {
            continue;
        }
        let raw = inspect(&dir.path().join("disk.raw"), None).unwrap();
        assert_eq!(raw.fstype, Some(fstype), "{steps:?}");
        assert_eq!(raw.partitions, None, "{steps:?}");
        // Those that are made for a disk take most of it; the others are filled up to a whole block.
        let length = raw.fs_bytes.unwrap();
        assert!(length <= raw.capacity_bytes && length > size / 2, "{steps:?}: {length}");
        raw.check_mountable(Path::new("disk.raw"), false, false).unwrap();
        cut_short(&dir.path().join("disk.raw"), length);
        for (format, options) in PACKED {
            let name = format!("disk.{format}");
            let args = [&["convert", "-f", "raw", "-O", format], options, &["disk.raw", &name]].concat();
            if !qemu_img(dir.path(), &args) {
                return;
            }
            let packed = inspect(&dir.path().join(&name), None).unwrap();
            assert_eq!(packed.fstype, Some(fstype), "{format} {options:?}");
            assert_eq!(
                packed.capacity_bytes,
                raw.capacity_bytes.next_multiple_of(512),
                "{format} {options:?}"
            );
        }
    }
}

/// Holds that a copy which lacks the last byte of its file system is refused.
fn cut_short(path: &Path, length: u64) {
    let copy = path.with_file_name("short.raw");
    fs::copy(path, &copy).unwrap();
    File::options().write(true).open(&copy).unwrap().set_len(length - 1).unwrap();
    let found = inspect(&copy, None).unwrap();
    for (readonly, knows_fs) in [(true, false), (false, true)] {
        let error = found.check_mountable(&copy, readonly, knows_fs).unwrap_err();
        assert!(error.to_string().contains("a part of it is missing"), "{error}");
    }
}

#[test]
fn an_image_that_imago_does_not_read_is_accepted_without_its_file_system() {
    let dir = tempfile::tempdir().unwrap();
    if !make(dir.path(), 16 * MIB, &[&["mkfs.ext4", "-q", "disk.raw"]]) {
        return;
    }
    for option in ["extended_l2=on", "compression_type=zstd"] {
        let args = ["convert", "-f", "raw", "-O", "qcow2", "-o", option, "disk.raw", "disk.qcow2"];
        if !qemu_img(dir.path(), &args) {
            return;
        }
        let found = inspect(&dir.path().join("disk.qcow2"), None).unwrap();
        assert_eq!((found.capacity_bytes, found.fstype), (16 * MIB, None), "{option}");
    }
}

#[test]
fn a_tiny_raw_image_has_no_file_system() {
    let dir = tempfile::tempdir().unwrap();
    for length in [1, 511, 512, 1024, 1100] {
        fs::write(dir.path().join("disk.raw"), vec![0xff; length]).unwrap();
        let found = inspect(&dir.path().join("disk.raw"), None).unwrap();
        assert_eq!((found.capacity_bytes, found.fstype), (length as u64, None));
    }
}
