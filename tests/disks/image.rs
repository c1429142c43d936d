//! Disk images of the host: what is accepted, and that the file that was checked is the one handed on.

use super::{MIB, disk, ext4_image, image, in_use, readonly};
use crate::support::Home;
use nix::sys::stat::Mode;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::DiskFormat;
use serde_json::json;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

#[test]
fn an_image_is_told_with_its_format_and_the_file_system_inside() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    let attached = home.attach("worker", &[image(&path, json!({}))]).unwrap();
    let (host, open, format, fstype) = disk(&attached.mounts[0]);
    assert_eq!((host, format, fstype), (&*path, DiskFormat::Raw, Some("ext4")));
    let [opened, stands] = [open, host].map(|path| fs::metadata(path).unwrap());
    assert_eq!((opened.dev(), opened.ino()), (stands.dev(), stands.ino()));
    home.store.detach(attached.id).unwrap();
    assert!(!open.exists(), "a detached image is still open");
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
    let path = ext4_image(&home.path("image.raw"), 8);
    fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    let written = File::options().write(true).open(&path);
    let attached = home.attach("worker", &[image(&path, json!({}))]);
    match written {
        // Root may write it all the same.
        Ok(_) => drop(attached.unwrap()),
        Err(_) => assert_eq!(attached.unwrap_err().code(), "EACCES"),
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
    // The extents are found beside the descriptor, so that it has to be opened where it stands.
    assert_eq!(disk(&attached.mounts[0]), (&*path, &*path, DiskFormat::Vmdk, None));
    let error = home.attach("other", &[image(&extent, json!({ "format": "raw" }))]).unwrap_err();
    assert_eq!(in_use(&error), ["worker"]);
}
