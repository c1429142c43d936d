//! Hosts that cannot hold a disk: a clear error, and nothing left.

use crate::support::child::in_child;
use crate::support::home::name;
use crate::support::skip::skip;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sandbox_volumes::error::Error;
use sandbox_volumes::model::{Labels, VolumeSpec};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mount that ends when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn create(store: &Store, format: &str, size_mib: u32) -> Result<(), Error> {
    let options = json!({ "kind": "disk", "sizeMib": size_mib, "format": format });
    let spec = VolumeSpec::from_options(&[options.into()]).unwrap();
    store.create(&name("data"), &spec, &CancelToken::default()).map(drop)
}

/// Holds that nothing of a refused creation is left in the home.
fn assert_nothing_left(store: &Store, home: &Path) {
    assert!(store.list(&Labels::default(), &CancelToken::default()).unwrap().is_empty());
    for (room, expected) in [("", 4), (".staging", 0), (".trash", 0), (".ids", 0)] {
        assert_eq!(fs::read_dir(home.join("volumes").join(room)).unwrap().count(), expected, "{room:?}");
    }
}

/// Fills a file system, and then gives `spare` bytes back.
fn fill(ballast: &Path, spare: u64) {
    let mut file = File::create(ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let length = file.metadata().unwrap().len();
    file.set_len(length - spare).unwrap();
}

#[test]
fn case_33_a_disk_that_its_host_has_no_space_for_leaves_nothing() {
    // In a process of its own: the children that other tests start have all files open for a moment, deleted ones too.
    in_child(refuse_and_leave_nothing);
}

fn refuse_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    if let Err(errno) = mount(Some("tmpfs"), dir.path(), Some("tmpfs"), MsFlags::empty(), Some("size=4m")) {
        return skip(format_args!("mounting needs root: {errno}"));
    }
    let _mounted = Mounted(dir.path().to_owned());
    let (home, ballast) = (dir.path().join("home"), dir.path().join("ballast"));
    let store = Store::open(&home, Durability::Full).unwrap();
    for format in ["raw", "qcow2"] {
        create(&store, format, 1024).unwrap();
        let used = store.get(&name("data"), &CancelToken::default()).unwrap().used_bytes;
        store.remove(&name("data"), &CancelToken::default()).unwrap();
        // The catalog writes its log over, so that what is spared is the image's: all of it but a block.
        fill(&ballast, used - 4096);
        let error = create(&store, format, 1024).unwrap_err();
        assert_eq!(error.code(), "ENOSPC", "{format}: {error}");
        assert_eq!(error.context().volume.as_deref(), Some("data"));
        assert_nothing_left(&store, &home);
        fs::remove_file(&ballast).unwrap();
        create(&store, format, 1024).unwrap();
        store.remove(&name("data"), &CancelToken::default()).unwrap();
    }
}

#[test]
fn a_disk_larger_than_any_file_of_its_host_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (image, at) = (dir.path().join("host.img"), dir.path().join("host"));
    fs::create_dir(&at).unwrap();
    // Without extents and with blocks of 1 KiB, no file of ext4 is larger than about 16 GiB.
    File::create(&image).unwrap().set_len(16 << 20).unwrap();
    let mkfs =
        Command::new("mkfs.ext4").args(["-q", "-b", "1024", "-O", "^extent,^64bit"]).arg(&image).status();
    if !mkfs.is_ok_and(|status| status.success()) {
        return skip("mkfs.ext4 is not installed");
    }
    let mounted = Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at).output().unwrap();
    if !mounted.status.success() {
        return skip(format_args!("mounting needs root: {}", String::from_utf8_lossy(&mounted.stderr)));
    }
    let _mounted = Mounted(at.clone());
    let home = at.join("home");
    let store = Store::open(&home, Durability::Full).unwrap();
    let error = create(&store, "raw", 20 << 10).unwrap_err();
    assert_eq!(error.code(), "EFBIG", "{error}");
    assert!(error.to_string().contains("volumes/data/disk.raw\" (volume \"data\")"), "{error}");
    assert_nothing_left(&store, &home);
    create(&store, "raw", 8 << 10).unwrap();
}
