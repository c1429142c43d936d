//! Disk volumes from creation to removal.

use super::{MIB, disk, readonly, volume};
use crate::support::home::{Home, name};
use crate::support::report::report;
use crate::support::skip::skip;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::{DiskFormat, MAX_DISK_MIB, MIN_DISK_MIB, VolumeDisk, VolumeStorage};
use sandbox_volumes::store::WriteOptions;
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

/// Runs a tool that has to find nothing wrong; false where it is not installed.
fn judged_by(tool: &str, arguments: &[&str], image: &Path) -> bool {
    match Command::new(tool).args(arguments).arg(image).output() {
        Ok(output) => {
            assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stdout));
            true
        }
        Err(_) => {
            skip(format_args!("{tool} is not installed"));
            false
        }
    }
}

#[test]
fn a_disk_volume_is_a_sparse_image_with_a_file_system_of_its_size() {
    let home = Home::new();
    let path = home.create_disk("data", json!({ "sizeMib": 1024 })).unwrap();
    assert_eq!(path, home.path("volumes/data"));
    let entries: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["disk.raw"]);
    let image = path.join("disk.raw");
    let metadata = fs::metadata(&image).unwrap();
    assert_eq!(metadata.len(), 1024 * MIB);
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let info = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    let (format, capacity_bytes) = (DiskFormat::Raw, Some(1024 * MIB));
    let disk = VolumeDisk { format, capacity_bytes, fstype: Some("ext4".to_owned()) };
    assert_eq!(info.record.storage, VolumeStorage::Disk(disk));
    assert_eq!(info.used_bytes, metadata.blocks() * 512);
    report(format_args!("{} bytes allocated for 1 GiB", info.used_bytes));
    assert!(info.used_bytes <= 256 * 1024, "{}", info.used_bytes);
    judged_by("e2fsck", &["-fn"], &image);
}

#[test]
fn two_disk_volumes_have_file_systems_of_different_identity_and_their_own_names() {
    let home = Home::new();
    let superblocks = ["one", "a-name-of-more-than-16-bytes"].map(|volume| {
        let path = home.create_disk(volume, json!({ "sizeMib": 16 })).unwrap();
        fs::read(path.join("disk.raw")).unwrap()[1024..2048].to_vec()
    });
    let [one, two] = &superblocks;
    // The UUID, the label, the seed of the directories' hashes.
    assert_ne!(one[0x68..0x78], two[0x68..0x78]);
    assert_eq!(&one[0x78..0x88], b"one\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(&two[0x78..0x88], b"a-name-of-more-t");
    assert_ne!(one[0xEC..0xFC], two[0xEC..0xFC]);
}

#[test]
fn a_disk_volume_may_be_a_qcow2_image() {
    let home = Home::new();
    let path = home.create_disk("data", json!({ "sizeMib": 64, "format": "qcow2" })).unwrap();
    let image = path.join("disk.qcow2");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    assert_eq!(&fs::read(&image).unwrap()[..4], b"QFI\xfb");
    let info = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    let stored = info.record.storage.disk().unwrap();
    assert_eq!((stored.format, stored.capacity_bytes), (DiskFormat::Qcow2, Some(64 * MIB)));
    let attached = home.attach("worker", &[volume("data", json!({}))]).unwrap();
    assert_eq!(disk(&attached.mounts[0]), (&*image, &*image, DiskFormat::Qcow2, Some("ext4")));
    if judged_by("qemu-img", &["check"], &image) {
        let raw = home.path("copy.raw");
        let copy = ["convert", "-O", "raw", image.to_str().unwrap()];
        assert!(Command::new("qemu-img").args(copy).arg(&raw).status().unwrap().success());
        assert_eq!(fs::metadata(&raw).unwrap().len(), 64 * MIB);
        judged_by("e2fsck", &["-fn"], &raw);
    }
}

#[test]
fn a_size_that_no_disk_has_is_refused_with_the_sizes_that_one_has() {
    let home = Home::new();
    for size in [0, 1, MIN_DISK_MIB - 1, MAX_DISK_MIB + 1, u32::MAX] {
        let error = home.create_disk("data", json!({ "sizeMib": size })).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert_eq!(error.context().field.as_deref(), Some("sizeMib"));
        let limits = format!("an integer from {MIN_DISK_MIB} to {MAX_DISK_MIB}; got {size}");
        assert!(error.to_string().contains(&limits), "{error}");
    }
    assert_eq!(home.volumes(), [""; 0]);
    let path = home.create_disk("data", json!({ "sizeMib": MIN_DISK_MIB })).unwrap();
    judged_by("e2fsck", &["-fn"], &path.join("disk.raw"));
}

#[test]
fn options_of_the_other_kind_are_refused_by_name() {
    let home = Home::new();
    let cases = [
        (json!({ "sizeMib": 16, "quotaMib": 1 }), "quotaMib", "a disk is limited by"),
        (json!({ "sizeMib": 16, "format": "vmdk" }), "format", "expected one of \"raw\", \"qcow2\""),
        (json!({ "kind": "dir", "format": "raw" }), "format", "only a volume of kind \"disk\""),
        (json!({}), "sizeMib", "needs its size in MiB"),
    ];
    for (options, field, says) in cases {
        let error = home.create_disk("data", options).unwrap_err();
        assert_eq!(error.context().field.as_deref(), Some(field));
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn the_files_of_a_disk_volume_are_refused_one_and_all_and_its_image_is_not_touched() {
    let home = Home::new();
    let path = home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    let before = fs::read(path.join("disk.raw")).unwrap();
    let (files, cancel) = (home.store.files(&name("data")), CancelToken::default());
    for round in 0..2 {
        let results = [
            files.open("disk.raw").map(drop),
            files.write("disk.raw", b"x", WriteOptions::default(), &cancel),
            files.write("new", b"x", WriteOptions { atomic: true, ..WriteOptions::default() }, &cancel),
            files.mkdir("dir", &cancel),
            files.remove("disk.raw", &cancel),
            files.remove_all("disk.raw", &cancel),
            files.exists("disk.raw").map(drop),
        ];
        for result in results {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{round}: {error}");
            assert!(error.to_string().contains("volume \"data\" is a disk"), "{error}");
            assert_eq!(error.context().volume.as_deref(), Some("data"));
        }
    }
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    assert!(fs::read(path.join("disk.raw")).unwrap() == before);
}

#[test]
fn a_handle_follows_the_kind_that_its_name_has_now() {
    let home = Home::new();
    let (files, cancel) = (home.store.files(&name("data")), CancelToken::default());
    for _ in 0..3 {
        home.create("data");
        files.write("disk.raw", b"mine", WriteOptions::default(), &cancel).unwrap();
        home.store.remove(&name("data"), &cancel).unwrap();
        home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
        assert_eq!(files.exists("disk.raw").unwrap_err().kind(), ErrorKind::InvalidConfig);
        home.store.remove(&name("data"), &cancel).unwrap();
        assert_eq!(files.exists("disk.raw").unwrap_err().kind(), ErrorKind::VolumeNotFound);
    }
}

#[test]
fn a_directory_volume_in_which_a_guest_put_an_image_is_still_a_directory() {
    let home = Home::new();
    let path = home.create("data");
    fs::write(path.join("disk.raw"), "guest").unwrap();
    assert!(home.store.files(&name("data")).exists("disk.raw").unwrap());
    let info = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(info.record.storage, VolumeStorage::Directory { quota_mib: None });
}

#[test]
fn an_attached_disk_volume_tells_its_image_its_format_and_the_file_system_that_is_there_now() {
    let home = Home::new();
    let path = home.create_disk("data", json!({ "sizeMib": 16 })).unwrap();
    let image = path.join("disk.raw");
    let attached = home.attach("worker", &[volume("data", readonly())]).unwrap();
    assert!(attached.mounts[0].flags.readonly);
    assert_eq!(disk(&attached.mounts[0]), (&*image, &*image, DiskFormat::Raw, Some("ext4")));
    home.store.detach(attached.id).unwrap();
    // What a guest did to its disk.
    fs::write(&image, vec![0; 16 * MIB as usize]).unwrap();
    let attached = home.attach("worker", &[volume("data", json!({}))]).unwrap();
    assert_eq!(disk(&attached.mounts[0]), (&*image, &*image, DiskFormat::Raw, None));
    let info = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(info.record.storage.disk().unwrap().fstype.as_deref(), Some("ext4"));
}

#[test]
fn case_36_a_raw_disk_in_which_a_guest_wrote_a_qcow2_header_is_still_raw() {
    let home = Home::new();
    let path = home.create_disk("data", json!({ "sizeMib": 16 })).unwrap();
    let image = path.join("disk.raw");
    let mut bytes = fs::read(&image).unwrap();
    bytes[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    fs::write(&image, &bytes).unwrap();
    let attached = home.attach("worker", &[volume("data", json!({}))]).unwrap();
    assert_eq!(disk(&attached.mounts[0]), (&*image, &*image, DiskFormat::Raw, Some("ext4")));
}

#[test]
fn a_virtiofs_policy_on_a_volume_that_turns_out_to_be_a_disk_is_refused() {
    let home = Home::new();
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    for (field, value) in [("statVirtualization", "off"), ("hostPermissions", "private")] {
        let mut options = Value::Object(serde_json::Map::new());
        options[field] = value.into();
        let error = home.attach("worker", &[volume("data", options)]).unwrap_err();
        assert_eq!(error.context().field.as_deref(), Some(field), "{error}");
    }
    home.attach("worker", &[volume("data", json!({}))]).unwrap();
}

#[test]
fn a_disk_volume_whose_image_was_cut_off_is_not_attached() {
    let home = Home::new();
    let path = home.create_disk("data", json!({ "sizeMib": 64 })).unwrap();
    let image = fs::File::options().write(true).open(path.join("disk.raw")).unwrap();
    image.set_len(32 * MIB).unwrap();
    let error = home.attach("worker", &[volume("data", json!({}))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskImage);
    assert!(error.to_string().contains("is shorter than the disk was made"), "{error}");
    // A larger image does no harm.
    image.set_len(128 * MIB).unwrap();
    home.attach("worker", &[volume("data", json!({}))]).unwrap();
}

#[test]
fn a_volume_whose_image_was_deleted_is_listed_and_removable_and_not_attached() {
    let home = Home::new();
    let path = home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    fs::remove_file(path.join("disk.raw")).unwrap();
    assert_eq!(home.store.get(&name("data"), &CancelToken::default()).unwrap().used_bytes, 0);
    let error = home.attach("worker", &[volume("data", json!({}))]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskImage, "{error}");
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(home.volumes(), [""; 0]);
}
