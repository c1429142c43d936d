//! The `flock` on attached disks, as other programs see it.

use super::volume;
use crate::support::home::Home;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::OptionValue;
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

fn image(path: &Path, options: serde_json::Value) -> MountConfig {
    MountConfig::disk(&OptionValue::Text(path.to_str().unwrap().to_owned()), &options.into(), Path::new("/"))
        .unwrap()
}

/// A disk volume's image, and one of the host.
fn disks(home: &Home) -> [(PathBuf, MountConfig, MountConfig); 2] {
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    let (made, path) = (home.path("volumes/data/disk.raw"), home.path("image.raw"));
    fs::copy(&made, &path).unwrap();
    let readonly = || json!({ "readonly": true });
    [
        (made, volume("data", json!({})), volume("data", readonly())),
        (path.clone(), image(&path, json!({})), image(&path, readonly())),
    ]
}

fn can_lock(path: &Path) -> bool {
    File::open(path).unwrap().try_lock().is_ok()
}

fn can_share(path: &Path) -> bool {
    File::open(path).unwrap().try_lock_shared().is_ok()
}

#[test]
fn case_60_another_program_sees_an_attached_disk_by_its_flock() {
    let home = Home::new();
    for (path, writing, reading) in disks(&home) {
        let attached = home.attach_at(&[("/disk", writing)]).unwrap();
        assert!(!can_lock(&path) && !can_share(&path), "{path:?}");
        home.store.detach(attached.id).unwrap();
        assert!(can_lock(&path), "{path:?}");
        let readers = [
            home.attach_at(&[("/disk", reading.clone())]).unwrap(),
            home.attach_at(&[("/disk", reading)]).unwrap(),
        ];
        assert!(!can_lock(&path) && can_share(&path), "{path:?}");
        for reader in readers {
            home.store.detach(reader.id).unwrap();
        }
        assert!(can_lock(&path), "{path:?}");
    }
}

#[test]
fn case_60_an_attachment_sees_another_programs_flock() {
    let home = Home::new();
    for (path, writing, reading) in disks(&home) {
        let attach = |mount: &MountConfig| {
            let mounts = validate_and_order(vec![("/disk".to_owned(), mount.clone())]).unwrap();
            home.store.attach("worker", &mounts, None, &CancelToken::default())
        };
        let lock = File::open(&path).unwrap();
        lock.try_lock().unwrap();
        for mount in [&writing, &reading] {
            assert_eq!(attach(mount).unwrap_err().kind(), ErrorKind::VolumeInUse);
        }
        lock.unlock().unwrap();
        home.store.detach(attach(&writing).unwrap().id).unwrap();
    }
}

#[test]
fn what_microsandbox_is_told_to_mount_it_can_lock_and_other_attachments_cannot_have() {
    let home = Home::new();
    let other = Home::new();
    for (path, writing, _) in disks(&home) {
        let attached = home.attach_at(&[("/disk", writing)]).unwrap();
        attached.give_flock_away().unwrap();
        let theirs = File::open(&path).unwrap();
        theirs.try_lock().unwrap();
        theirs.unlock().unwrap();
        // What QEMU and our attachments in other homes see stays.
        let mounts = validate_and_order(vec![("/disk".to_owned(), image(&path, json!({})))]).unwrap();
        let refused = other.store.attach("second", &mounts, None, &CancelToken::default());
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::VolumeInUse);
        attached.give_flock_away().unwrap();
        assert!(can_lock(&path));
        home.store.detach(attached.id).unwrap();
        attached.give_flock_away().unwrap();
        other.store.attach("second", &mounts, None, &CancelToken::default()).unwrap();
    }
}

#[test]
fn a_disk_that_an_attach_made_in_vain_is_removed_again() {
    let home = Home::new();
    let disk = MountConfig::named_with(
        &OptionValue::Text("new".to_owned()),
        &OptionValue::Absent,
        &json!({ "mode": "create", "kind": "disk", "sizeMib": 8 }).into(),
    );
    home.create_disk("data", json!({ "sizeMib": 8 })).unwrap();
    let lock = File::open(home.path("volumes/data/disk.raw")).unwrap();
    lock.try_lock().unwrap();
    let entries = vec![("/a".to_owned(), disk.unwrap()), ("/b".to_owned(), volume("data", json!({})))];
    let attached =
        home.store.attach("worker", &validate_and_order(entries).unwrap(), None, &CancelToken::default());
    assert_eq!(attached.unwrap_err().kind(), ErrorKind::VolumeInUse);
    assert!(!home.path("volumes/new").exists());
}
