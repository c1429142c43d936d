//! One writer or many readers of a disk, in any process.

use super::{ext4_image, image, in_use, readonly, volume};
use crate::support::home::{Home, name};
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};
use nix::libc;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::Command;

/// A disk volume and a disk image, each to be mounted for writing and for reading.
fn disks(home: &Home) -> [(&'static str, MountConfig, MountConfig); 2] {
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    let path = ext4_image(&home.path("image.raw"), 8);
    [
        ("volume", volume("data", json!({})), volume("data", readonly())),
        ("image", image(&path, json!({})), image(&path, readonly())),
    ]
}

fn paths(home: &Home) -> [PathBuf; 2] {
    [home.path("volumes/data/disk.raw"), home.path("image.raw")]
}

#[test]
fn case_38_a_second_writer_is_refused_and_told_who_the_first_one_is() {
    let home = Home::new();
    for (what, writing, reading) in disks(&home) {
        let first = home.attach("first", std::slice::from_ref(&writing)).unwrap();
        for mount in [&writing, &reading] {
            let error = home.attach("second", std::slice::from_ref(mount)).unwrap_err();
            assert_eq!(in_use(&error), ["first"], "{what}");
            assert!(error.to_string().contains("\"first\""), "{error}");
        }
        home.store.detach(first.id).unwrap();
        home.attach("second", &[writing]).unwrap();
    }
}

#[test]
fn many_readers_share_a_disk_and_keep_a_writer_out() {
    let home = Home::new();
    for (what, writing, reading) in disks(&home) {
        let readers =
            ["a", "b", "c"].map(|sandbox| home.attach(sandbox, std::slice::from_ref(&reading)).unwrap());
        assert_eq!(
            in_use(&home.attach("writer", std::slice::from_ref(&writing)).unwrap_err()),
            ["a", "b", "c"],
            "{what}"
        );
        for reader in readers {
            home.store.detach(reader.id).unwrap();
        }
        home.attach("writer", &[writing]).unwrap();
    }
}

#[test]
fn one_sandbox_cannot_mount_a_disk_twice_where_one_mount_writes() {
    let home = Home::new();
    for (_, writing, reading) in disks(&home) {
        for pair in [
            [writing.clone(), reading.clone()],
            [reading.clone(), writing.clone()],
            [writing.clone(), writing.clone()],
        ] {
            let error = home.attach("worker", &pair).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert_eq!(error.context().path.as_deref(), Some("/1"));
        }
        home.attach("worker", &[reading.clone(), reading]).unwrap();
    }
}

#[test]
fn the_end_of_a_process_frees_its_disks_and_another_store_sees_those_of_the_living() {
    let home = Home::new();
    for (what, writing, _) in disks(&home) {
        let mut process = Command::new("sleep").arg("600").spawn().unwrap();
        let mounts = validate_and_order(vec![("/disk".to_owned(), writing.clone())]).unwrap();
        let attached = home.store.attach("first", &mounts, Some(process.id()), &CancelToken::default());
        let other = Store::open(&home.path(""), Durability::Fast).unwrap();
        let refused = other.attach("second", &mounts, None, &CancelToken::default());
        process.kill().unwrap();
        process.wait().unwrap();
        attached.unwrap();
        assert_eq!(in_use(&refused.unwrap_err()), ["first"], "{what}");
        other.attach("second", &mounts, None, &CancelToken::default()).unwrap();
    }
}

#[test]
fn an_image_by_another_name_is_the_same_image() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    fs::hard_link(&path, home.path("other.raw")).unwrap();
    std::os::unix::fs::symlink(&path, home.path("link.raw")).unwrap();
    home.attach("first", &[image(&path, json!({}))]).unwrap();
    for other in ["other.raw", "link.raw"] {
        let error = home.attach("second", &[image(&home.path(other), json!({}))]).unwrap_err();
        assert_eq!(in_use(&error), ["first"]);
    }
}

#[test]
fn a_program_that_holds_a_flock_on_the_image_keeps_others_out() {
    let home = Home::new();
    for ((what, writing, reading), path) in disks(&home).into_iter().zip(paths(&home)) {
        let held = |kind| Flock::lock(File::open(&path).unwrap(), kind).unwrap();
        let exclusive = held(FlockArg::LockExclusiveNonblock);
        for mount in [&writing, &reading] {
            let error = home.attach("worker", std::slice::from_ref(mount)).unwrap_err();
            assert_eq!(in_use(&error), [""; 0], "{what}");
            assert!(error.to_string().contains("in use by another program"), "{error}");
        }
        drop(exclusive);
        let shared = held(FlockArg::LockSharedNonblock);
        assert_eq!(in_use(&home.attach("worker", std::slice::from_ref(&writing)).unwrap_err()), [""; 0]);
        let reader = home.attach("worker", &[reading]).unwrap();
        drop(shared);
        home.store.detach(reader.id).unwrap();
        home.attach("worker", &[writing]).unwrap();
    }
}

/// Takes a record lock that belongs to the open file.
fn lock_bytes(file: &File, kind: libc::c_int, start: libc::off_t, length: libc::off_t) {
    let lock = libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start,
        l_len: length,
        l_pid: 0,
    };
    fcntl(file.as_fd(), FcntlArg::F_OFD_SETLK(&lock)).unwrap();
}

/// Closing alone would leave the locks to a child process that another test is just starting.
fn unlock(file: File) {
    lock_bytes(&file, libc::F_UNLCK, 0, 0);
}

#[test]
fn a_program_that_holds_a_record_lock_on_the_image_keeps_others_out() {
    let home = Home::new();
    for ((what, writing, reading), path) in disks(&home).into_iter().zip(paths(&home)) {
        let other = || File::options().read(true).write(true).open(&path).unwrap();
        let exclusive = other();
        lock_bytes(&exclusive, libc::F_WRLCK, 0, 0);
        for mount in [&writing, &reading] {
            assert_eq!(
                in_use(&home.attach("worker", std::slice::from_ref(mount)).unwrap_err()),
                [""; 0],
                "{what}"
            );
        }
        unlock(exclusive);
        let shared = other();
        lock_bytes(&shared, libc::F_RDLCK, 0, 1);
        in_use(&home.attach("worker", std::slice::from_ref(&writing)).unwrap_err());
        home.attach("worker", &[reading]).unwrap();
    }
}

#[test]
fn a_qemu_that_writes_is_told_from_one_that_reads() {
    let home = Home::new();
    let path = ext4_image(&home.path("image.raw"), 8);
    // What QEMU does with an image, and what it does not let others do, are bytes from 100 and from 200 on.
    let qemu = |bytes: &[libc::off_t]| {
        let file = File::open(&path).unwrap();
        bytes.iter().for_each(|byte| lock_bytes(&file, libc::F_RDLCK, *byte, 1));
        file
    };
    let writer = qemu(&[100, 101, 201, 203]);
    for options in [json!({}), readonly()] {
        in_use(&home.attach("worker", &[image(&path, options)]).unwrap_err());
    }
    unlock(writer);
    let reader = qemu(&[100, 201, 203]);
    in_use(&home.attach("worker", &[image(&path, json!({}))]).unwrap_err());
    home.attach("worker", &[image(&path, readonly())]).unwrap();
    unlock(reader);
}

#[test]
fn a_disk_volume_whose_image_another_program_has_locked_is_not_removed() {
    let home = Home::new();
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    let lock = Flock::lock(File::open(home.path("volumes/data/disk.raw")).unwrap(), FlockArg::LockExclusive)
        .unwrap();
    let error = home.store.remove(&name("data"), &CancelToken::default()).unwrap_err();
    assert_eq!(in_use(&error), [""; 0]);
    assert_eq!(error.context().volume.as_deref(), Some("data"));
    assert_eq!(home.volumes(), ["data"]);
    drop(lock);
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn an_attached_disk_volume_cannot_be_removed() {
    let home = Home::new();
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    let attached = home.attach("worker", &[volume("data", readonly())]).unwrap();
    assert_eq!(in_use(&home.store.remove(&name("data"), &CancelToken::default()).unwrap_err()), ["worker"]);
    home.store.detach(attached.id).unwrap();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn an_image_has_one_writer_across_homes() {
    let (home, other) = (Home::new(), Home::new());
    let path = ext4_image(&home.path("image.raw"), 8);
    let writer = home.attach("first", &[image(&path, json!({}))]).unwrap();
    for options in [json!({}), readonly()] {
        assert_eq!(in_use(&other.attach("second", &[image(&path, options)]).unwrap_err()), [""; 0]);
    }
    home.store.detach(writer.id).unwrap();
    let reader = home.attach("first", &[image(&path, readonly())]).unwrap();
    in_use(&other.attach("second", &[image(&path, json!({}))]).unwrap_err());
    other.attach("second", &[image(&path, readonly())]).unwrap();
    home.store.detach(reader.id).unwrap();
    // A disk volume as another home sees it.
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    home.attach("first", &[volume("data", json!({}))]).unwrap();
    in_use(&other.attach("second", &[image(&home.path("volumes/data/disk.raw"), json!({}))]).unwrap_err());
}
