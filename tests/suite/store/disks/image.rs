//! Disk images of the host: what is accepted, and that the file that was checked is the one handed on.

use super::{MIB, disk, ext4_image, image, in_use, readonly, volume};
use crate::support::home::Home;
use crate::support::immutable::Immutable;
use crate::support::opens::Opens;
use crate::support::skip::skip;
use nix::sys::stat::Mode;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::DiskFormat;
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// Whether two paths lead to one file. A descriptor that was closed is soon another one, of another test.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    identity(one).is_some() && identity(one) == identity(other)
}

#[test]
fn an_image_is_told_with_its_format_and_the_file_system_inside() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    let attached = home.attach("worker", &[image(&path, json!({}))]).unwrap();
    let (host, open, format, fstype) = disk(&attached.mounts[0]);
    assert_eq!((host, format, fstype), (&*path, DiskFormat::Raw, Some("ext4")));
    assert!(is_same_file(open, host));
    home.store.detach(attached.id).unwrap();
    assert!(!is_same_file(open, host), "a detached image is still open");
}

#[test]
fn a_file_system_that_the_caller_names_is_taken() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    let attached = home.attach("worker", &[image(&path, json!({ "fstype": "ext3" }))]).unwrap();
    assert_eq!(disk(&attached.mounts[0]).3, Some("ext3"));
}

#[test]
fn case_37_an_image_that_is_no_regular_file_or_empty_is_refused() {
    let home = Home::new();
    let socket = home.path("socket.raw");
    let _listener = UnixListener::bind(&socket).unwrap();
    nix::unistd::mkfifo(&home.path("fifo.raw"), Mode::S_IRWXU).unwrap();
    fs::create_dir(home.path("dir.raw")).unwrap();
    File::create(home.path("empty.raw")).unwrap();
    symlink("/dev/null", home.path("device.raw")).unwrap();
    for (entry, says) in [
        ("socket.raw", "regular file"),
        ("fifo.raw", "regular file"),
        ("dir.raw", "is a directory"),
        ("device.raw", "regular file"),
        ("empty.raw", "empty"),
    ] {
        let path = home.path(entry);
        let error = home.attach("worker", &[image(&path, json!({}))]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DiskImage, "{error}");
        assert_eq!(error.context().path.as_deref(), path.to_str());
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = home.attach("worker", &[image(&home.path("missing.raw"), json!({}))]).unwrap_err();
    assert_eq!(error.code(), "ENOENT", "{error}");
}

#[test]
fn case_37_an_image_that_is_swapped_after_it_was_checked_is_not_what_is_opened() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    let checked = fs::metadata(&path).unwrap().ino();
    let attached = home.attach("worker", &[image(&path, json!({}))]).unwrap();
    fs::rename(&path, home.path("moved.raw")).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    let open = disk(&attached.mounts[0]).1;
    assert_eq!(fs::metadata(open).unwrap().ino(), checked);
    assert_eq!(fs::read(open).unwrap().len() as u64, 8 * MIB);
}

#[test]
fn an_image_among_the_stores_own_files_is_refused() {
    let home = Home::new();
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    symlink(home.path("volumes/data/disk.raw"), home.path("link.raw")).unwrap();
    for path in ["volumes/data/disk.raw", "link.raw", "db/volumes.db"] {
        let error = home.attach("worker", &[image(&home.path(path), readonly())]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{path}: {error}");
        assert_eq!(error.context().field.as_deref(), Some("disk"));
    }
}

#[test]
fn an_image_that_may_not_be_written_is_attached_for_reading_only() {
    let home = Home::new();
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    let path = ext4_image(&home.path("image.raw"), 8);
    let inside = home.path("volumes/data/disk.raw");
    let Some(_kept) = Immutable::new(&path).zip(Immutable::new(&inside)) else { return };
    for mount in [image as fn(&Path, Value) -> MountConfig, |_, options| volume("data", options)] {
        let error = home.attach("worker", &[mount(&path, json!({}))]).unwrap_err();
        assert_eq!(error.code(), "EPERM", "{error}");
        home.attach("worker", &[mount(&path, readonly())]).unwrap();
    }
}

#[test]
fn an_image_that_is_the_catalog_by_another_name_is_refused_and_not_opened() {
    let home = Home::new();
    home.create("data");
    fs::hard_link(home.path("db/volumes.db"), home.path("other.raw")).unwrap();
    for path in ["db/volumes.db", "db/volumes.db-shm", "db/volumes.db-wal", "other.raw"] {
        let path = home.path(path);
        let opens = Opens::watch(&path);
        let error = home.attach("worker", &[image(&path, readonly())]).unwrap_err();
        assert_eq!(
            (error.kind(), error.context().field.as_deref()),
            (ErrorKind::InvalidConfig, Some("disk"))
        );
        // Its close would have taken SQLite's locks away.
        assert!(!opens.any(), "{path:?} was opened");
    }
}

#[test]
fn an_image_stays_open_while_it_is_attached_whatever_becomes_of_the_store() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    let attached = home.attach("worker", &[image(&path, json!({}))]).unwrap();
    let same = || is_same_file(disk(&attached.mounts[0]).1, &path);
    // The home is opened again.
    fs::remove_dir_all(home.path("db")).unwrap();
    assert_eq!(home.volumes(), [""; 0]);
    assert!(same());
    drop(home.store);
    assert!(same());
    attached.check_held().unwrap();
}

#[test]
fn a_detached_image_is_not_told_to_a_runtime_any_more() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    let attached = home.attach("worker", &[image(&path, json!({}))]).unwrap();
    fs::remove_dir_all(home.path("volumes")).unwrap();
    fs::write(home.path("volumes"), "").unwrap();
    let open = disk(&attached.mounts[0]).1;
    assert!(is_same_file(open, &path));
    home.store.detach(attached.id).unwrap_err();
    assert!(!is_same_file(open, &path), "the image was not closed");
    assert_eq!(attached.check_held().unwrap_err().context().field.as_deref(), Some("attachment"));
}

#[test]
fn the_images_of_sandboxes_that_died_are_closed() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    let open_here = || {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        descriptors.filter(|it| fs::read_link(it.as_ref().unwrap().path()).is_ok_and(|to| to == path)).count()
    };
    for _ in 0..10 {
        let mut process = Command::new("sleep").arg("600").spawn().unwrap();
        let mounts = validate_and_order(vec![("/disk".to_owned(), image(&path, json!({})))]).unwrap();
        home.store.attach("worker", &mounts, Some(process.id()), &CancelToken::default()).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        assert_eq!(open_here(), 1);
    }
}

#[test]
fn a_refused_image_leaves_the_other_mounts_of_the_call_untaken() {
    let home = Home::new();
    let good = ext4_image(&home.path("good.raw"), 8);
    File::create(home.path("bad.raw")).unwrap();
    home.attach("worker", &[image(&good, json!({})), image(&home.path("bad.raw"), json!({}))]).unwrap_err();
    let first = home.attach("worker", &[image(&good, json!({}))]).unwrap();
    in_use(&home.attach("other", &[image(&good, json!({}))]).unwrap_err());
    home.store.detach(first.id).unwrap();
}

#[test]
fn a_vmdk_of_several_files_is_held_with_all_of_them() {
    let home = Home::new();
    let extent = home.path("disk-flat.vmdk");
    File::create(&extent).unwrap().set_len(8 * MIB).unwrap();
    let descriptor = format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\n\
         # Extent description\n\
         RW {} FLAT \"disk-flat.vmdk\" 0\n",
        8 * MIB / 512
    );
    let path = home.path("disk.vmdk");
    fs::write(&path, descriptor).unwrap();
    let attached = home.attach("worker", &[image(&path, json!({}))]).unwrap();
    let (host, open, format, fstype) = disk(&attached.mounts[0]);
    assert_eq!((host, format, fstype), (&*path, DiskFormat::Vmdk, None));
    let error = home.attach("other", &[image(&extent, json!({ "format": "raw" }))]).unwrap_err();
    assert_eq!(in_use(&error), ["worker"]);

    // A runtime does not get what stands at the names now.
    let checked = fs::metadata(&extent).unwrap().ino();
    fs::rename(&extent, home.path("moved")).unwrap();
    symlink("/etc/passwd", &extent).unwrap();
    fs::write(&path, "swapped").unwrap();
    let told = fs::read_to_string(open).unwrap();
    let named = told.split('"').find(|part| part.starts_with("/proc/")).unwrap();
    assert_eq!(fs::metadata(named).unwrap().ino(), checked, "{told}");
    // As QEMU reads it.
    if let Ok(output) =
        Command::new("qemu-img").args(["info", "--output=json", "-f", "vmdk"]).arg(open).output()
    {
        let info: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(info["virtual-size"], 8 * MIB, "{info}");
    }
}

fn refused(home: &Home, path: &Path, options: Value, says: &str) {
    let error = home.attach("worker", &[image(path, options)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DiskImage, "{error}");
    assert_eq!(error.context().path.as_deref(), path.to_str());
    assert!(error.to_string().contains(says), "{error}");
}

#[test]
fn case_64_an_image_that_cannot_be_written_again_is_attached_for_reading_only() {
    let home = Home::new();
    let raw = ext4_image(&home.path("image.raw"), 8);
    let path = home.path("image.vmdk");
    let convert = ["convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized"];
    match Command::new("qemu-img").args(convert).args([&raw, &path]).output() {
        Ok(output) => assert!(output.status.success(), "{output:?}"),
        Err(error) => return skip(format_args!("qemu-img is missing: {error}")),
    }
    refused(
        &home,
        &path,
        json!({}),
        "is a streamOptimized vmdk, which can only be read. Mount it \"readonly\"",
    );
    let attached = home.attach("worker", &[image(&path, readonly())]).unwrap();
    let (_, _, format, fstype) = disk(&attached.mounts[0]);
    assert_eq!((format, fstype), (DiskFormat::Vmdk, Some("ext4")));
}

#[test]
fn case_64_an_image_shorter_than_its_file_system_is_refused() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    File::options().write(true).open(&path).unwrap().set_len(8 * MIB - 4096).unwrap();
    refused(&home, &path, json!({}), "a part of it is missing");
    refused(&home, &path, readonly(), "a part of it is missing");
    File::options().write(true).open(&path).unwrap().set_len(8 * MIB).unwrap();
    home.attach("worker", &[image(&path, json!({}))]).unwrap();
}

#[test]
fn case_64_what_a_guest_writes_into_its_own_disk_volume_does_not_make_it_another_format() {
    let home = Home::new();
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    let path = home.path("volumes/data/disk.raw");
    let mut file = File::options().write(true).open(&path).unwrap();
    std::io::Write::write_all(&mut file, b"QFI\xfb\0\0\0\x03").unwrap();
    let attached = home.attach("worker", &[volume("data", json!({}))]).unwrap();
    assert_eq!(disk(&attached.mounts[0]).2, DiskFormat::Raw);
}

/// A disk of 16 MiB with partitions of 4 MiB at 1 MiB and of 2 MiB at 5 MiB.
fn partitioned(gpt: bool) -> Vec<u8> {
    let mut disk = vec![0; 16 * MIB as usize];
    let partitions = [(2048u32, 8192u32), (10240, 4096)];
    let mbr = if gpt { vec![(0xee, 1, 32767)] } else { partitions.map(|(at, size)| (0x83, at, size)).into() };
    for (entry, (kind, at, size)) in disk[446..].chunks_mut(16).zip(mbr) {
        entry[4] = kind;
        entry[8..12].copy_from_slice(&u32::to_le_bytes(at));
        entry[12..16].copy_from_slice(&u32::to_le_bytes(size));
    }
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    if gpt {
        disk[512..520].copy_from_slice(b"EFI PART");
        for (at, value) in [(72, 2u32), (80, 128), (84, 128)] {
            disk[512 + at..][..4].copy_from_slice(&value.to_le_bytes());
        }
        for (entry, (at, size)) in disk[1024..].chunks_mut(128).zip(partitions) {
            entry[..16].fill(0xaf);
            entry[32..36].copy_from_slice(&at.to_le_bytes());
            entry[40..44].copy_from_slice(&(at + size - 1).to_le_bytes());
        }
    }
    disk
}

#[test]
fn case_64_a_partitioned_image_is_refused_with_the_places_of_its_partitions() {
    let home = Home::new();
    let path = home.path("image.raw");
    for (gpt, kind) in [(false, "MBR"), (true, "GPT")] {
        fs::write(&path, partitioned(gpt)).unwrap();
        let says = format!(
            "has a partition table ({kind}) where a file system is expected: partition 1 at byte 1048576, 4194304 \
             bytes; partition 2 at byte 5242880, 2097152 bytes."
        );
        refused(&home, &path, json!({}), &says);
        refused(&home, &path, readonly(), &says);
        // The caller may know better.
        let attached = home.attach("worker", &[image(&path, json!({ "fstype": "ext4" }))]).unwrap();
        home.store.detach(attached.id).unwrap();
    }
}
