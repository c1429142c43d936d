//! Every size is a file system that `e2fsck` finds nothing wrong with, laid out as `mkfs.ext4` would.

use super::SIZES;
use super::e2fsprogs::{self, assert_clean, facts, groups, number};
use super::image::{HASH_SEED, Image, LABEL, UUID, options};
use crate::support::report::report;
use crate::support::skip::skip;
use sandbox_volumes::ext4::format;
use sandbox_volumes::model::{MAX_DISK_MIB, MIN_DISK_MIB};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Of the random sizes, the largest in MiB.
const LARGEST_RANDOM: f64 = 70_000.0;
const RANDOM_SIZES: u64 = 200;

/// The seed that a failing run printed, to repeat it.
const SEED: &str = "SANDBOX_VOLUMES_TEST_SEED";

/// What differs from one run of `mkfs.ext4` to the next, or follows from where things stand within a group.
const INCOMPARABLE: [&str; 3] = ["Lifetime writes", "Checksum", "Journal checksum"];

/// The journal's size in MiB.
fn journal_mib(mib: u32) -> u64 {
    match mib {
        0..128 => 4,
        128..1024 => 16,
        1024..2048 => 32,
        2048..16384 => 64,
        _ => 128,
    }
}

#[test]
fn a_file_system_of_every_size_is_clean() {
    if !e2fsprogs::are_there() {
        return;
    }
    for mib in SIZES {
        assert_clean(&Image::of_mib(mib).path, &format!("{mib} MiB"));
    }
}

#[test]
fn a_file_system_of_any_random_size_is_clean() {
    if !e2fsprogs::are_there() {
        return;
    }
    let random = || RandomState::new().hash_one(());
    let seed = std::env::var(SEED).map_or_else(|_| random(), |seed| seed.parse().unwrap());
    report(format_args!("{RANDOM_SIZES} random sizes; to repeat them, set {SEED}={seed}"));
    let mut state = seed | 1;
    let (least, most) = (f64::from(MIN_DISK_MIB).ln(), LARGEST_RANDOM.ln());
    for _ in 0..RANDOM_SIZES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // As many between 100 and 200 MiB as between 10 and 20 GiB.
        let within = (state >> 11) as f64 / (1u64 << 53) as f64;
        let mib = (least + within * (most - least)).exp() as u32;
        let mib = mib.max(MIN_DISK_MIB);
        let image = Image::of_mib(mib);
        assert_clean(&image.path, &format!("{mib} MiB"));
        assert_eq!(number(&facts(&image.path), "Total journal blocks"), journal_mib(mib) * 256, "{mib} MiB");
    }
}

#[test]
fn the_superblock_says_what_that_of_mkfs_says() {
    if !e2fsprogs::are_there() {
        return;
    }
    // Last groups that are smaller than the others. For one that is left out, `mkfs.ext4` still counts inodes.
    let mut sizes = vec![200, 511, 600, 1000, 2052, 2100, 10_000];
    // Smaller than 8 MiB `mkfs.ext4` makes no journal, and at 129 MiB it makes its groups smaller.
    sizes.extend(SIZES.into_iter().filter(|mib| *mib >= 8 && *mib != 129));
    for mib in sizes {
        let image = Image::of_mib(mib);
        // Its journals grow with the disk up to 1 GiB, ours up to 128 MiB.
        let journal = (mib >= 32 << 10).then(|| journal_mib(mib));
        let theirs = e2fsprogs::mkfs(mib, journal);
        let comparable = |image: &Image| {
            let mut facts = facts(&image.path);
            facts.retain(|name, _| !INCOMPARABLE.contains(&name.as_str()));
            facts
        };
        assert_eq!(comparable(&image), comparable(&theirs), "{mib} MiB");
        assert_eq!(groups(&image.path), groups(&theirs.path), "{mib} MiB");
    }
}

#[test]
fn the_superblock_says_what_was_asked_for() {
    if !e2fsprogs::are_there() {
        return;
    }
    // In MiB, blocks, groups and inodes; of 129 MiB the last is too little for a group.
    let cases = [
        (MIN_DISK_MIB, 1280, 1, 1280),
        (100, 25_600, 1, 25_600),
        (129, 32_768, 1, 32_768),
        (1024, 262_144, 8, 65_536),
        (20480, 5_242_880, 160, 1_310_720),
    ];
    for (mib, blocks, groups, inodes) in cases {
        let image = Image::of_mib(mib);
        let facts = facts(&image.path);
        assert_eq!(number(&facts, "Block count"), blocks, "{mib} MiB");
        assert_eq!(number(&facts, "Inode count"), inodes, "{mib} MiB");
        assert_eq!(e2fsprogs::groups(&image.path), groups, "{mib} MiB");
        assert_eq!(number(&facts, "Total journal blocks"), journal_mib(mib) * 256, "{mib} MiB");
        assert_eq!(facts["Filesystem volume name"], LABEL);
        assert_eq!(facts["Filesystem UUID"], UUID);
        assert_eq!(facts["Directory Hash Seed"], HASH_SEED);
        assert_eq!(facts["Filesystem created"], "Tue Nov 14 22:13:20 2023");
        assert_eq!(number(&facts, "Reserved block count"), 0);
    }
}

#[test]
fn a_disk_of_20_gib_takes_256_kib_at_most() {
    let start = Instant::now();
    let extents = format(&options(20480)).unwrap();
    let formatted = start.elapsed();
    let written: usize = extents.iter().map(|extent| extent.bytes.len()).sum();
    let image = Image::of_mib(20480);
    let allocated = image.allocated_bytes();
    report(format_args!("{} extents, {written} bytes, {allocated} allocated, {formatted:?}", extents.len()));
    assert!(written <= 256 << 10 && allocated <= 256 << 10);
}

#[test]
fn the_largest_disk_is_clean_and_takes_64_mib_at_most() {
    // Many file systems have no file of that size, but memory has.
    let shared_memory = Path::new("/dev/shm");
    if !shared_memory.is_dir() {
        return skip("there is no /dev/shm");
    }
    if !e2fsprogs::are_there() {
        return;
    }
    let image = Image::at(shared_memory, &options(MAX_DISK_MIB));
    assert!(image.allocated_bytes() <= 64 << 20, "{}", image.allocated_bytes());
    assert_clean(&image.path, "16 TiB");
    let facts = facts(&image.path);
    assert_eq!(number(&facts, "Block count"), 1 << 32);
    assert_eq!(number(&facts, "Inode count"), 1 << 30);
}

#[test]
fn a_file_system_is_repaired_from_each_copy_of_its_superblock() {
    if !e2fsprogs::are_there() {
        return;
    }
    for group in [1, 3, 5, 7, 9, 25, 27] {
        let image = Image::of_mib(4096);
        // The superblock, the descriptors, the bitmaps and the first inodes.
        let file = File::options().write(true).open(&image.path).unwrap();
        file.write_all_at(&[0; 4 * 4096], 0).unwrap();
        e2fsprogs::repair_from(&image.path, group * 32768);
        assert_clean(&image.path, &format!("repaired from group {group}"));
    }
}
