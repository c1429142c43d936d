//! New images, judged by qemu-img.

use super::{inspect, qemu_img};
use crate::support::report::report;
use crate::support::skip::skip;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use qcow2_rs::dev::Qcow2DevParams;
use qcow2_rs::helpers::Qcow2IoBuf;
use qcow2_rs::utils::qcow2_setup_dev_sync;
use sandbox_volumes::ext4::Extent;
use sandbox_volumes::image::{create_qcow2, create_raw};
use sandbox_volumes::model::DiskFormat;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::process::Command;

const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

fn file(path: &Path) -> File {
    File::options().read(true).write(true).create_new(true).open(path).unwrap()
}

/// Pieces as a file system's skeleton has them: at the start, at the very end, across clusters.
fn pieces(capacity: u64) -> Vec<Extent> {
    [
        (1024, vec![1; 1024]),
        (65536 - 100, vec![2; 70000]),
        (capacity / 2 + 3, vec![3; 5]),
        (capacity - 4096, vec![4; 4096]),
    ]
    .map(|(offset, bytes)| Extent { offset, bytes })
    .into()
}

fn extent(offset: u64, length: usize) -> Extent {
    Extent { offset, bytes: vec![1; length] }
}

fn info(path: &Path) -> serde_json::Value {
    let output = Command::new("qemu-img").args(["info", "--output=json"]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn qemu_img_finds_a_new_qcow2_image_clean_and_its_content_right() {
    for capacity in [MIB, 64 * MIB, 3 * 512 * MIB + 512, TIB, 16 * TIB] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.qcow2");
        create_qcow2(&file(&path), &path, capacity, &pieces(capacity)).unwrap();
        if !qemu_img(dir.path(), &["check", "-q", "disk.qcow2"]) {
            return;
        }
        let info = info(&path);
        assert_eq!(info["virtual-size"], capacity);
        assert_eq!(info["cluster-size"], 65536);
        assert_eq!(info["format-specific"]["data"]["compat"], "1.1");
        assert_eq!(info["format-specific"]["data"]["refcount-bits"], 16);
        let found = inspect(&path, None).unwrap();
        assert_eq!((found.format, found.capacity_bytes), (DiskFormat::Qcow2, capacity));
        let metadata = fs::metadata(&path).unwrap();
        report(format_args!(
            "{capacity}: {} bytes long, {} on disk",
            metadata.len(),
            metadata.blocks() * 512
        ));
        assert!(metadata.blocks() * 512 < 2 * MIB, "{capacity}");
        if capacity <= 2048 * MIB {
            qemu_img(dir.path(), &["convert", "-O", "raw", "disk.qcow2", "disk.raw"]);
            create_raw(&file(&dir.path().join("own.raw")), &path, capacity, &pieces(capacity)).unwrap();
            qemu_img(dir.path(), &["compare", "-q", "-f", "raw", "-F", "raw", "disk.raw", "own.raw"]);
            assert_eq!(fs::metadata(dir.path().join("disk.raw")).unwrap().len(), capacity);
        }
    }
}

/// Reads `length` bytes at `offset` of a qcow2 image as qcow2-rs does.
async fn read_with_qcow2_rs(path: &Path, offset: u64, length: usize) -> Vec<u8> {
    let dev = qcow2_setup_dev_sync(path, &Qcow2DevParams::new(9, None, None, true, false)).unwrap();
    dev.qcow2_prep_io().await.unwrap();
    let mut buffer = Qcow2IoBuf::<u8>::new(length);
    assert_eq!(dev.read_at(&mut buffer, offset).await.unwrap(), length);
    buffer.to_vec()
}

#[test]
fn an_independent_reader_finds_what_was_written_into_a_new_qcow2_image() {
    const BLOCK: u64 = 4096;
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for capacity in [MIB, 64 * MIB, 3 * 512 * MIB + 64 * 1024, TIB] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk.qcow2");
        let pieces = pieces(capacity);
        create_qcow2(&file(&path), &path, capacity, &pieces).unwrap();
        for piece in &pieces {
            // From the block before the piece, if there is one, to the block after it.
            let start = (piece.offset / BLOCK).saturating_sub(1) * BLOCK;
            let end = (piece.offset + piece.bytes.len() as u64).next_multiple_of(BLOCK) + BLOCK;
            let length = usize::try_from(end.min(capacity) - start).unwrap();
            let found = runtime.block_on(read_with_qcow2_rs(&path, start, length));
            let mut expected = vec![0; length];
            for other in &pieces {
                for (at, byte) in (other.offset..).zip(&other.bytes) {
                    if (start..start + length as u64).contains(&at) {
                        expected[usize::try_from(at - start).unwrap()] = *byte;
                    }
                }
            }
            assert!(found == expected, "{capacity}: around {}", piece.offset);
        }
    }
}

#[test]
fn a_new_raw_image_is_sparse_and_holds_the_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    let capacity = 4 * TIB;
    let made = file(&path);
    create_raw(&made, &path, capacity, &pieces(capacity)).unwrap();
    for Extent { offset, bytes } in pieces(capacity) {
        let mut read = vec![0; bytes.len()];
        made.read_exact_at(&mut read, offset).unwrap();
        assert_eq!(read, bytes);
    }
    let metadata = made.metadata().unwrap();
    assert_eq!(metadata.len(), capacity);
    assert!(metadata.blocks() * 512 < MIB);
}

#[test]
fn what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk");
    let made = file(&path);
    for (capacity, pieces) in [
        (0, vec![]),
        (16 * TIB + 1, vec![]),
        (4096, vec![extent(4095, 2)]),
        (4096, vec![extent(u64::MAX, 1)]),
    ] {
        create_qcow2(&made, &path, capacity, &pieces).unwrap_err();
        create_raw(&made, &path, capacity, &pieces).unwrap_err();
    }
    assert_eq!(made.metadata().unwrap().len(), 0);
}

/// A file system of that many KiB, unmounted when dropped.
struct Tiny(tempfile::TempDir);

impl Tiny {
    fn new(kib: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={kib}k");
        match mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some(options.as_str())) {
            Ok(()) => Some(Tiny(dir)),
            Err(errno) => {
                skip(format_args!("mounting needs root: {errno}"));
                None
            }
        }
    }
}

impl Drop for Tiny {
    fn drop(&mut self) {
        umount2(self.0.path(), MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn a_full_disk_is_named_as_the_system_names_it() {
    // Full for the header, for the tables, and for the content.
    for kib in [4, 64, 128, 256] {
        let Some(tiny) = Tiny::new(kib) else { return };
        let path = tiny.0.path().join("disk");
        for create in [create_qcow2, create_raw] {
            let made = file(&path);
            let error = create(&made, &path, 8 * MIB, &[extent(0, MIB as usize)]).unwrap_err();
            assert_eq!(
                (error.code().as_str(), error.context().syscall),
                ("ENOSPC", Some("write")),
                "{kib}: {error}"
            );
            fs::remove_file(&path).unwrap();
        }
    }
}
