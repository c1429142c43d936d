//! qcow2 images that are refused, and that nothing they name is opened.

use super::{Opens, inspect, patch, qemu_img, refused};
use crate::support::cpu_time::cpu_time;
use sandbox_volumes::model::DiskFormat;
use std::fs::{self, File};
use std::path::PathBuf;
use tempfile::TempDir;

/// A directory with a plain image. Returns `None` if qemu-img is missing.
fn image(options: &[&str]) -> Option<(TempDir, PathBuf)> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.qcow2");
    let args = [&["create", "-q", "-f", "qcow2"], options, &["disk.qcow2", "64M"]].concat();
    qemu_img(dir.path(), &args).then_some((dir, path))
}

fn patched(bytes: &[(u64, &[u8])]) -> Option<(TempDir, PathBuf)> {
    let (dir, path) = image(&[])?;
    inspect(&path, None).unwrap();
    for (at, bytes) in bytes {
        patch(&path, *at, bytes);
    }
    Some((dir, path))
}

#[test]
fn case_34_a_backing_file_is_refused_and_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret.raw");
    File::create(&secret).unwrap().set_len(64 << 20).unwrap();
    let path = dir.path().join("disk.qcow2");
    let json = format!(r#"json:{{"driver":"raw","file":{{"driver":"file","filename":{secret:?}}}}}"#);
    let names =
        [secret.to_str().unwrap(), "secret.raw", "./secret.raw", &json, "disk.qcow2", "nbd:localhost:1"];
    for name in names {
        for version in ["compat=v3", "compat=0.10"] {
            let args = ["create", "-q", "-f", "qcow2", "-o", version, "-u", "-F", "raw", "-b", name];
            if !qemu_img(dir.path(), &[&args[..], &["made.qcow2", "64M"]].concat()) {
                return;
            }
            fs::rename(dir.path().join("made.qcow2"), &path).unwrap();
            let opens = Opens::watch(&secret);
            refused(&path, "backing file");
            assert!(!opens.any(), "{name} was opened");
        }
    }
    let error = inspect(&path, Some(DiskFormat::Qcow2)).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "Disk image {path:?} has a backing file, which is not opened: the author of the image could name any \
             file of the host. If you trust it, make it one file with qemu-img convert -O qcow2."
        )
    );
}

#[test]
fn case_34_an_external_data_file_is_refused_and_not_opened() {
    for raw in ["data_file_raw=off", "data_file_raw=on"] {
        let Some((dir, path)) = image(&["-o", &format!("data_file=data,{raw}")]) else { return };
        let opens = Opens::watch(&dir.path().join("data"));
        refused(&path, "keeps its data in another file");
        assert!(!opens.any());
        // Without the feature's bit, the name remains.
        patch(&path, 79, &[0]);
        refused(&path, "keeps its data in another file");
    }
}

#[test]
fn case_34_unknown_features_versions_and_encryption_are_refused() {
    let cases: [(u64, &[u8], &str); 7] = [
        (79, &[0x20], "bits 0x20"),
        (72, &[0x80], "not known here"),
        (79, &[0x02], "marked as corrupt"),
        (79, &[0x01], "marked as dirty"),
        (7, &[1], "version 1"),
        (7, &[4], "version 4"),
        (35, &[1], "encrypted"),
    ];
    for (at, bytes, because) in cases {
        let Some((_dir, path)) = patched(&[(at, bytes)]) else { return };
        refused(&path, because);
    }
    // LUKS takes a moment's whole processor to make.
    let aes = ["--object", "secret,id=key,data=abc", "-o", "encrypt.format=aes,encrypt.key-secret=key"];
    let Some((_dir, path)) = image(&aes) else { return };
    refused(&path, "encrypted");
    patch(&path, 35, &[2]);
    refused(&path, "encrypted");
}

#[test]
fn case_34_a_truncated_image_is_refused() {
    let Some((_dir, path)) = image(&[]) else { return };
    let whole = fs::read(&path).unwrap();
    for length in [4, 71, 103, 111, 512, 0x10000, 0x20000, 0x30000] {
        fs::write(&path, &whole[..length]).unwrap();
        refused(&path, "");
    }
}

#[test]
fn case_34_tables_out_of_bounds_and_absurd_sizes_are_refused() {
    let cases: [(u64, &[u8], &str); 8] = [
        (23, &[8], "clusters of an impossible size"),
        (23, &[22], "clusters of an impossible size"),
        (24, &[0x7f], "16 TiB"),
        (36, &[0x7f], "impossible size"),
        (40, &[0x7f], "L1 table lies outside"),
        (47, &[1], "L1 table lies outside it or between clusters"),
        (48, &[0x7f], "reference count table lies outside"),
        (99, &[7], "reference counts of an impossible size"),
    ];
    for (at, bytes, because) in cases {
        let Some((_dir, path)) = patched(&[(at, bytes)]) else { return };
        refused(&path, because);
    }
    // An L2 table outside the image, and clusters that imago finds unsound.
    let Some((_dir, path)) = patched(&[(0x30000, &[0x80, 0, 0, 0, 0x7f, 0, 0, 0])]) else { return };
    refused(&path, "L2 table");
}

/// The file that a loop over the clusters would read for ever.
#[test]
fn case_34_a_huge_l1_table_in_a_hole_is_read_within_bounds() {
    let Some((_dir, path)) = image(&["-o", "cluster_size=2M"]) else { return };
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(1 << 40).unwrap();
    patch(&path, 36, &(4u32 << 20).to_be_bytes());
    patch(&path, 40, &(1u64 << 39).to_be_bytes());
    let start = cpu_time();
    inspect(&path, None).unwrap();
    let took = cpu_time() - start;
    assert!(took.as_secs() < 2, "{took:?}");
}

#[test]
fn whatever_qemu_img_makes_by_itself_is_accepted() {
    let options = [
        "compat=0.10",
        "compat=v3",
        "cluster_size=512",
        "cluster_size=2M",
        "lazy_refcounts=on",
        "refcount_bits=1",
        "refcount_bits=64",
        "preallocation=metadata",
        "preallocation=full",
        "extended_l2=on",
        "compression_type=zstd",
    ];
    for option in options {
        let Some((dir, path)) = image(&["-o", option]) else { return };
        let found = inspect(&path, None).unwrap();
        assert_eq!((found.format, found.capacity_bytes), (DiskFormat::Qcow2, 64 << 20), "{option}");
        qemu_img(dir.path(), &["resize", "-q", "disk.qcow2", "128M"]);
        assert_eq!(inspect(&path, None).unwrap().capacity_bytes, 128 << 20, "{option} resized");
        for snapshot in ["one", "two"] {
            qemu_img(dir.path(), &["snapshot", "-c", snapshot, "disk.qcow2"]);
        }
        assert_eq!(inspect(&path, None).unwrap().capacity_bytes, 128 << 20, "{option} with snapshots");
    }
    for size in ["512", "1M", "1T", "16T"] {
        let dir = tempfile::tempdir().unwrap();
        qemu_img(dir.path(), &["create", "-q", "-f", "qcow2", "disk.qcow2", size]);
        inspect(&dir.path().join("disk.qcow2"), None).unwrap();
    }
}

#[test]
fn case_64_a_truncated_image_is_refused_wherever_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let data: Vec<_> =
        (0..8u32 << 18).flat_map(|word| word.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(dir.path().join("disk.raw"), data).unwrap();
    for options in
        [&[][..], &["-c"], &["-o", "cluster_size=512"], &["-o", "compat=0.10"], &["-o", "extended_l2=on"]]
    {
        let args = [&["convert", "-f", "raw", "-O", "qcow2"], options, &["disk.raw", "disk.qcow2"]].concat();
        if !qemu_img(dir.path(), &args) {
            return;
        }
        let path = dir.path().join("disk.qcow2");
        let length = fs::metadata(&path).unwrap().len();
        inspect(&path, None).unwrap();
        for parts in (1..16).rev() {
            File::options().write(true).open(&path).unwrap().set_len(length * parts / 16).unwrap();
            let error = inspect(&path, None).unwrap_err();
            assert_eq!(error.code(), "ERR_DISK_IMAGE", "{options:?} {parts}: {error}");
        }
    }
}

#[test]
fn an_image_with_clusters_set_aside_is_whole() {
    for preallocation in ["off", "metadata", "falloc", "full"] {
        let option = format!("preallocation={preallocation}");
        let Some((_dir, path)) = image(&["-o", &option]) else { return };
        inspect(&path, None).unwrap();
    }
}
