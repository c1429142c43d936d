//! The kernel mounts what was made, stores files in it, and goes on after it has grown.

use super::SIZES;
use super::e2fsprogs::{self, assert_clean, facts, number, output_of};
use super::image::{Image, options};
use super::mounted::{self, Mounted};
use crate::support::report::report;
use nix::sys::statvfs::statvfs;
use nix::unistd::syncfs;
use sandbox_volumes::ext4::Ext4Options;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

const FILES: u64 = 10_000;
const FILES_IN_A_DIRECTORY: u64 = 100;

/// The most that one of the files takes, in blocks.
const BLOCKS_OF_A_FILE: u64 = 2;

fn can_run() -> bool {
    e2fsprogs::are_there() && mounted::is_possible()
}

fn file(number: u64) -> (PathBuf, Vec<u8>) {
    let path = PathBuf::from(format!("dir-{}/file-{number}", number / FILES_IN_A_DIRECTORY));
    let content = format!("{number}\n").repeat((number * 37 % 1200) as usize);
    (path, content.into_bytes())
}

/// Writes as many files as there is room for, at most [`FILES`], and gives their number.
fn write_files(mounted: &Mounted) -> u64 {
    let room = statvfs(mounted.root()).unwrap();
    let blocks = room.blocks_available() * 3 / 4;
    let inodes = room.files_free();
    let files = FILES.min(blocks / BLOCKS_OF_A_FILE).min(inodes * 9 / 10);
    for number in 0..files {
        let (path, content) = file(number);
        if number % FILES_IN_A_DIRECTORY == 0 {
            fs::create_dir(mounted.path(&path).parent().unwrap()).unwrap();
        }
        fs::write(mounted.path(path), content).unwrap();
    }
    files
}

fn assert_files(mounted: &Mounted, files: u64) {
    for number in 0..files {
        let (path, content) = file(number);
        assert!(fs::read(mounted.path(&path)).unwrap() == content, "{path:?}");
    }
}

#[test]
fn the_kernel_stores_ten_thousand_files() {
    if !can_run() {
        return;
    }
    for mib in SIZES {
        let what = format!("{mib} MiB");
        let image = Image::of_mib(mib);
        let facts = facts(&image.path);
        let mounted = Mounted::new(&image.path);
        let room = statvfs(mounted.root()).unwrap();
        assert_eq!(room.fragment_size(), 4096, "{what}");
        assert_eq!(room.blocks_free(), number(&facts, "Free blocks"), "{what}");
        assert_eq!(room.files_free(), number(&facts, "Free inodes"), "{what}");
        let usable = number(&facts, "Block count") - number(&facts, "Overhead clusters");
        assert_eq!(room.blocks(), usable, "{what}");
        let files = write_files(&mounted);
        assert!(files >= 50, "{what}: room for {files} files only");
        drop(mounted);
        assert_clean(&image.path, &format!("{what} with {files} files"));
        let mounted = Mounted::new(&image.path);
        assert_files(&mounted, files);
        drop(mounted);
        report(format_args!("{what}: {files} files, then {} bytes allocated", image.allocated_bytes()));
    }
}

#[test]
fn a_file_system_grows_to_four_times_its_size() {
    if !can_run() {
        return;
    }
    for mib in SIZES {
        let what = format!("{mib} MiB");
        let image = Image::of_mib(mib);
        let files = write_files(&Mounted::new(&image.path));
        let before = number(&facts(&image.path), "Block count");
        image.set_mib(4 * u64::from(mib));
        e2fsprogs::grow(&image.path);
        assert_clean(&image.path, &format!("{what} grown"));
        // But for a last group that is too small.
        let wanted = 4 * u64::from(mib) * 256;
        let after = number(&facts(&image.path), "Block count");
        assert!(after >= 4 * before && wanted - after < 2048, "{what}: from {before} to {after} blocks");
        let mounted = Mounted::new(&image.path);
        assert_files(&mounted, files);
        fs::write(mounted.path("after"), vec![1; 3 << 20]).unwrap();
        drop(mounted);
        assert_clean(&image.path, &format!("{what} grown and written to"));
    }
}

#[test]
fn the_journal_is_replayed_after_a_crash() {
    if !can_run() {
        return;
    }
    // With the journal behind the directories, and with one that fills groups of its own.
    for mib in [64, 16384] {
        let image = Image::of_mib(mib);
        let crashed = image.path.with_file_name("crashed.raw");
        let mounted = Mounted::new(&image.path);
        let files = write_files(&mounted);
        syncfs(File::open(mounted.root()).unwrap()).unwrap();
        let acknowledged = File::create(mounted.path("acknowledged")).unwrap();
        acknowledged.write_all_at(b"kept", 0).unwrap();
        acknowledged.sync_all().unwrap();
        drop(acknowledged);
        output_of(Command::new("cp").arg("--sparse=always").arg(&image.path).arg(&crashed));
        drop(mounted);
        let features = &facts(&crashed)["Filesystem features"];
        assert!(features.contains("needs_recovery"), "{features}");
        let mounted = Mounted::new(&crashed);
        assert_files(&mounted, files);
        assert_eq!(fs::read(mounted.path("acknowledged")).unwrap(), b"kept");
        drop(mounted);
        assert_clean(&crashed, &format!("{mib} MiB after a crash"));
    }
}

#[test]
fn a_new_file_system_holds_nothing_but_lost_and_found() {
    if !can_run() {
        return;
    }
    let image = Image::of_mib(64);
    let mounted = Mounted::new(&image.path);
    let names: Vec<_> =
        fs::read_dir(mounted.root()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["lost+found"]);
    let facts_of = |path: PathBuf| {
        let found = fs::metadata(path).unwrap();
        (found.mode(), found.uid(), found.gid(), found.nlink())
    };
    assert_eq!(facts_of(mounted.path("")), (0o040_755, 0, 0, 3));
    assert_eq!(facts_of(mounted.path("lost+found")), (0o040_700, 0, 0, 2));
}

#[test]
fn the_kernel_reads_times_after_2038() {
    if !can_run() {
        return;
    }
    // In 2023, 2040, 2107 and 2400.
    for created_at_s in [1_700_000_000, 2_208_988_800, 4_323_456_789, 13_569_465_600] {
        let image = Image::of(&Ext4Options { created_at_s, ..options(16) });
        let mounted = Mounted::new(&image.path);
        let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(created_at_s);
        for path in ["", "lost+found"] {
            let found = fs::metadata(mounted.path(path)).unwrap();
            assert_eq!(found.modified().unwrap(), expected, "{path:?}");
            assert_eq!(found.created().unwrap(), expected, "{path:?}");
        }
    }
}
