//! What in a volume is not ours to delete: mounts, and files that the administrator made immutable.

use crate::support::immutable::Immutable;
use crate::support::openat2;
use crate::support::read_only::in_read_only_namespace;
use crate::support::skip::skip;
use crate::support::snapshot::Snapshot;
use crate::support::volume::Volume;
use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use rusqlite::Connection;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::Labels;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// A mount that ends when dropped.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts `source`, or a tmpfs without one, at `target`. Returns `None` if this process may not mount.
    fn new(source: Option<&Path>, target: &Path) -> Option<Self> {
        let none: Option<&str> = None;
        let mounted = match source {
            Some(source) => mount(Some(source), target, none, MsFlags::MS_BIND, none),
            None => mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), none),
        };
        match mounted {
            Ok(()) => Some(Mounted(target.to_owned())),
            Err(errno) => {
                skip(format_args!("mounting needs root: {errno}"));
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

impl Volume {
    fn remove(&self) -> Result<(), Error> {
        self.store.remove(&self.name, &CancelToken::default())
    }

    fn is_listed(&self) -> bool {
        let volumes = self.store.list(&Labels::default(), &CancelToken::default()).unwrap();
        volumes.iter().any(|volume| volume.record.name == self.name)
    }
}

/// Deleting is refused with `EBUSY`, leaves what is at the mount point and outside, and the volume stays listed.
fn check_left_alone(
    volume: &Volume,
    mount_point: &Path,
    delete: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let seen = || (Snapshot::of(mount_point), Snapshot::of(&volume.outside));
    let before = seen();
    let result = delete();
    match (result, seen() == before, volume.is_listed()) {
        (_, false, _) => Err("what is mounted changed".to_owned()),
        (Err(code), _, true) if code == "EBUSY" => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// A mount at `place` of the volume survives every way of deleting it, and the volume stays listed. Once it is
/// unmounted, everything can be deleted.
fn check_mount(volume: &Volume, place: &str, mounted: Mounted) {
    let mount_point = volume.files.root().join(place);
    if mount_point.is_dir() {
        fs::write(mount_point.join("kept"), "kept").unwrap();
        fs::create_dir(mount_point.join("dir")).unwrap();
    }
    let cancel = CancelToken::default();
    let top = place.split('/').next().unwrap();
    let refused = |what: &str, delete: &dyn Fn() -> Result<(), Error>| {
        let delete = || delete().map_err(|error| error.code());
        check_left_alone(volume, &mount_point, delete).unwrap_or_else(|problem| panic!("{what}: {problem}"));
    };
    refused("remove it", &|| volume.files.remove(place, &cancel));
    refused("removeAll it", &|| volume.files.remove_all(place, &cancel));
    refused("removeAll above it", &|| volume.files.remove_all(top, &cancel));
    refused("remove the volume", &|| volume.remove());
    refused("remove the volume again", &|| volume.remove());
    drop(mounted);
    volume.files.remove_all(top, &cancel).unwrap();
    assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 0);
    volume.remove().unwrap();
    assert!(!volume.is_listed());
}

#[test]
fn faulty_deletion_crosses_into_a_mount_and_is_caught() {
    in_read_only_namespace(|| {
        let volume = Volume::new(json!({}));
        let mount_point = volume.files.root().join("mnt");
        fs::create_dir(&mount_point).unwrap();
        let Some(_mounted) = Mounted::new(Some(&volume.outside), &mount_point) else { return };
        fs::write(volume.outside.join("kept"), "kept").unwrap();
        let faulty = || fs::remove_dir_all(&mount_point).map_err(|error| error.to_string());
        let caught = check_left_alone(&volume, &mount_point, faulty);
        assert_eq!(caught, Err("what is mounted changed".to_owned()));
    });
}

#[test]
fn case_23_a_file_system_mounted_in_a_volume_is_left_alone() {
    let volume = Volume::new(json!({}));
    let mount_point = volume.files.root().join("a/b/mnt");
    fs::create_dir_all(&mount_point).unwrap();
    if let Some(mounted) = Mounted::new(None, &mount_point) {
        check_mount(&volume, "a/b/mnt", mounted);
    }
}

#[test]
fn case_23_a_directory_bound_into_a_volume_is_left_alone() {
    let volume = Volume::new(json!({}));
    let mount_point = volume.files.root().join("mnt");
    fs::create_dir(&mount_point).unwrap();
    if let Some(mounted) = Mounted::new(Some(&volume.outside), &mount_point) {
        check_mount(&volume, "mnt", mounted);
        assert_eq!(fs::read_to_string(volume.outside.join("kept")).unwrap(), "kept");
    }
}

#[test]
fn case_23_a_file_bound_into_a_volume_is_left_alone() {
    let volume = Volume::new(json!({}));
    let mount_point = volume.files.root().join("a/file");
    fs::create_dir(volume.files.root().join("a")).unwrap();
    fs::write(&mount_point, "below").unwrap();
    fs::write(volume.outside.join("file"), "kept").unwrap();
    if let Some(mounted) = Mounted::new(Some(&volume.outside.join("file")), &mount_point) {
        check_mount(&volume, "a/file", mounted);
    }
}

#[test]
fn case_23_a_mount_deeper_than_directories_are_held_open_is_left_alone() {
    let volume = Volume::new(json!({}));
    let below = vec!["d"; 200].join("/");
    fs::create_dir_all(volume.files.root().join(&below)).unwrap();
    let Some(mounted) = Mounted::new(Some(&volume.outside), &volume.files.root().join(&below)) else {
        return;
    };
    let before = Snapshot::of(&volume.outside);
    // What is above it is moved on the way, so the mount is somewhere else afterwards.
    let error = volume.files.remove_all("d", &CancelToken::default()).unwrap_err();
    assert_eq!(error.code(), "EBUSY", "{error}");
    let error = volume.remove().unwrap_err();
    assert_eq!(error.code(), "EBUSY", "{error}");
    assert!(volume.is_listed());
    assert_eq!(Snapshot::of(&volume.outside), before);
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let root = volume.files.root().to_str().unwrap();
    let line = mounts.lines().find(|line| line.contains(root)).unwrap();
    let moved = Mounted(PathBuf::from(line.split(' ').nth(1).unwrap()));
    std::mem::forget(mounted);
    drop(moved);
    volume.remove().unwrap();
}

#[test]
fn case_44_what_is_mounted_in_a_volume_is_not_counted() {
    let volume = Volume::new(json!({}));
    let mount_point = volume.files.root().join("mnt");
    fs::create_dir(&mount_point).unwrap();
    fs::write(volume.outside.join("large"), vec![1; 8 << 20]).unwrap();
    if let Some(_mounted) = Mounted::new(Some(&volume.outside), &mount_point) {
        let used = volume.store.get(&volume.name, &CancelToken::default()).unwrap().used_bytes;
        assert!(used < 1 << 20, "{used}");
    }
}

/// What a process leaves that dies while it puts back a volume which it could not delete.
const DIES_BEFORE: [&str; 3] = ["the mark is cleared", "the content is moved back", "the intent is deleted"];

#[test]
fn case_23_a_volume_whose_removal_dies_while_it_is_put_back_stays_listed() {
    for before in DIES_BEFORE {
        let volume = Volume::new(json!({}));
        let mount_point = volume.files.root().join("mnt");
        fs::create_dir(&mount_point).unwrap();
        let Some(mounted) = Mounted::new(None, &mount_point) else { return };
        drop(volume.store.begin_remove(&volume.name, &CancelToken::default()).unwrap());
        let home = volume.store.home();
        if before != DIES_BEFORE[0] {
            let catalog = Connection::open(home.join("db/volumes.db")).unwrap();
            catalog.execute("UPDATE volume SET identity_stored = 0", ()).unwrap();
        }
        if before == DIES_BEFORE[2] {
            let entry = fs::read_dir(home.join("volumes/.trash")).unwrap().next().unwrap().unwrap();
            fs::rename(entry.path(), volume.files.root()).unwrap();
        }
        assert!(volume.store.get(&volume.name, &CancelToken::default()).is_ok(), "{before}");
        assert!(mount_point.is_dir() && home.join("volumes/.ids/v").is_file(), "{before}");
        drop(mounted);
        volume.remove().unwrap();
    }
}

#[test]
fn case_23_a_volume_that_can_neither_be_deleted_nor_written_of_to_the_catalog_is_not_lost() {
    let volume = Volume::new(json!({}));
    let mount_point = volume.files.root().join("mnt");
    fs::create_dir(&mount_point).unwrap();
    let Some(mounted) = Mounted::new(None, &mount_point) else { return };
    let removal = volume.store.begin_remove(&volume.name, &CancelToken::default()).unwrap();
    let catalog = Connection::open(volume.store.home().join("db/volumes.db")).unwrap();
    catalog.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(removal.finish().unwrap_err().kind(), ErrorKind::Catalog);
    catalog.execute_batch("ROLLBACK").unwrap();
    drop(catalog);
    assert!(volume.store.get(&volume.name, &CancelToken::default()).is_ok());
    assert!(volume.is_listed() && mount_point.is_dir());
    drop(mounted);
    volume.remove().unwrap();
}

/// Deleting an immutable file of a volume is refused, and it and the volume stay where they are.
fn check_immutable(
    volume: &Volume,
    file: &Path,
    delete: impl Fn() -> Result<(), String>,
) -> Result<(), String> {
    let result = delete();
    match (result, fs::read_to_string(file).is_ok_and(|content| content == "kept"), volume.is_listed()) {
        (Err(problem), true, true) if problem.contains("EPERM") && problem.contains("a/b/file") => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// A volume with an immutable file, its path, and its guard. Returns `None` if there can be no such file.
fn with_immutable() -> Option<(Volume, PathBuf, Immutable)> {
    let volume = Volume::new(json!({}));
    let file = volume.files.root().join("a/b/file");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "kept").unwrap();
    let immutable = Immutable::new(&file)?;
    Some((volume, file, immutable))
}

#[test]
fn case_23_a_volume_with_an_immutable_file_stays_listed_and_can_be_removed_later() {
    let Some((volume, file, immutable)) = with_immutable() else { return };
    let told = |error: Error| format!("{}: {error}", error.code());
    for _ in 0..2 {
        check_immutable(&volume, &file, || volume.remove().map_err(told)).unwrap();
        let remove_all = || volume.files.remove_all("a", &CancelToken::default()).map_err(told);
        check_immutable(&volume, &file, remove_all).unwrap();
    }
    drop(immutable);
    volume.remove().unwrap();
    assert!(!volume.is_listed());
    assert!(!volume.files.root().exists());
}

#[test]
fn faulty_deletion_of_an_immutable_file_moves_the_volume_away_first_and_is_caught() {
    in_read_only_namespace(|| {
        let Some((volume, file, _immutable)) = with_immutable() else { return };
        let trash = volume.outside.join("trash");
        let faulty = || {
            fs::rename(volume.files.root(), &trash).unwrap();
            fs::remove_dir_all(&trash).map_err(|error| error.to_string())
        };
        let caught = check_immutable(&volume, &file, faulty);
        fs::rename(&trash, volume.files.root()).unwrap();
        caught.unwrap_err();
    });
}

#[test]
fn case_23_a_volume_whose_root_is_immutable_stays_listed_and_can_be_removed_later() {
    let volume = Volume::new(json!({}));
    let Some(immutable) = Immutable::new(volume.files.root()) else { return };
    assert_eq!(volume.remove().unwrap_err().code(), "EPERM");
    assert!(volume.is_listed());
    drop(immutable);
    volume.remove().unwrap();
}

#[test]
fn case_44_a_file_of_another_file_system_mounted_over_one_is_not_counted() {
    let volume = Volume::new(json!({}));
    let mount_point = volume.files.root().join("file");
    fs::write(&mount_point, "").unwrap();
    let Some(_memory) = Mounted::new(None, &volume.outside) else { return };
    fs::write(volume.outside.join("large"), vec![1; 8 << 20]).unwrap();
    let _mounted = Mounted::new(Some(&volume.outside.join("large")), &mount_point).unwrap();
    let used = volume.store.get(&volume.name, &CancelToken::default()).unwrap().used_bytes;
    assert!(used < 1 << 20, "{used}");
}

#[test]
fn case_18_what_is_not_ours_to_delete_stays_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["case_23", "case_44"]);
}
