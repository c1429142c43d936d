//! What a process that died leaves mounted, and who takes it away.

use super::{Home, Rootfs, disk_volume, loop_devices, named, tmpfs};
use crate::support::home::attach_at;
use crate::support::mount_namespace::enter_namespace;
use crate::support::unmount::unmount;
use crate::support::worker::{self, Worker};
use nix::mount::{MsFlags, mount};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
#[ignore = "a worker that the tests start as a second process"]
fn worker_that_mounts() {
    let Some(path) = worker::home() else { return };
    let store = Store::open(&path, Durability::Full).unwrap();
    for rootfs in worker::orders() {
        let mounts = [
            ("/data", named("data", json!({}))),
            ("/data/in", disk_volume("db", json!({}))),
            ("/tmp", tmpfs(json!({}))),
        ];
        let attached = attach_at(&store, &mounts).unwrap();
        store.mount_into(&attached, Path::new(&rootfs), &CancelToken::default()).unwrap();
        worker::say("mounted".to_owned());
    }
}

/// A process that has mounted into a root directory.
fn mounted(home: &Home, rootfs: &Rootfs) -> Worker {
    home.create("data");
    let mut worker = Worker::start(worker_that_mounts, &home.path(""));
    worker.order(rootfs.0.path().to_str().unwrap());
    assert_eq!(worker.answer().as_deref(), Some("mounted"));
    worker
}

fn open_again(home: &Home) {
    Store::open(&home.path(""), Durability::Full).unwrap();
}

#[test]
fn the_next_to_open_the_home_takes_away_what_a_killed_process_left() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let ours = home.mounted(&[("/ours", tmpfs(json!({})))], &rootfs);
    let worker = mounted(&home, &rootfs);
    open_again(&home);
    assert_eq!(rootfs.mounts(), ["/ours", "/data", "/data/in", "/tmp"], "it lives");
    drop(worker);
    open_again(&home);
    assert_eq!((rootfs.mounts(), home.written_down()), (vec!["/ours".to_owned()], 1));
    loop_devices::assert_none_soon(&home.path("volumes/db/disk.raw"));
    home.unmount(&ours).unwrap();
}

#[test]
fn somebody_elses_mount_at_the_same_place_is_left_alone() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let worker = mounted(&home, &rootfs);
    let tmp = rootfs.path("tmp");
    unmount(&tmp).unwrap();
    let tmpfs = || mount(Some("theirs"), &tmp, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    tmpfs();
    fs::write(tmp.join("theirs"), "").unwrap();
    drop(worker);
    open_again(&home);
    assert_eq!((rootfs.mounts(), home.written_down()), (vec!["/tmp".to_owned()], 0));
    assert!(tmp.join("theirs").exists());
}

#[test]
fn a_mount_that_another_covers_stays_until_it_can_be_reached() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let attached = home.mounted(&[("/tmp", tmpfs(json!({})))], &rootfs);
    let tmp = rootfs.path("tmp");
    mount(Some("theirs"), &tmp, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    assert_eq!(home.unmount(&attached).unwrap_err().code(), "EBUSY");
    assert_eq!((rootfs.mounts().len(), home.written_down()), (2, 1));
    unmount(&tmp).unwrap();
    home.unmount(&attached).unwrap();
    assert_eq!((rootfs.mounts().len(), home.written_down()), (0, 0));
}

#[test]
fn whoever_wants_a_disk_that_a_killed_process_left_mounted_gets_it() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    drop(mounted(&home, &rootfs));
    home.attach_at(&[("/db", disk_volume("db", json!({})))]).unwrap();
    assert_eq!(rootfs.mounts(), [""; 0]);

    let (home, rootfs) = (Home::new(), Rootfs::new());
    drop(mounted(&home, &rootfs));
    home.store.remove(&crate::support::home::name("db"), &CancelToken::default()).unwrap();
    assert_eq!(rootfs.mounts(), [""; 0]);
}

#[test]
fn what_is_in_another_mount_name_space_is_left_to_it() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let worker = mounted(&home, &rootfs);
    // This process holds the namespace of the mounts, and goes on in another one.
    let mut keeper = Command::new("sleep").arg("600").spawn().unwrap();
    assert!(enter_namespace());
    drop(worker);
    open_again(&home);
    let (kept, mounts) = (home.written_down(), rootfs.mounts().len());
    let entered = Command::new("nsenter")
        .args(["--mount", "--target", &keeper.id().to_string(), "cat", "/proc/self/mountinfo"])
        .output();
    keeper.kill().unwrap();
    keeper.wait().unwrap();
    assert_eq!(
        (kept, mounts),
        (3, 3),
        "the copies of the mounts in this name space are not ours to take away"
    );
    let listed = String::from_utf8(entered.unwrap().stdout).unwrap();
    assert_eq!(listed.matches(rootfs.0.path().to_str().unwrap()).count(), 3);
    // A thread of another test may have a new namespace of the same number for a while.
    let deadline = Instant::now() + Duration::from_secs(120);
    while home.written_down() > 0 {
        assert!(Instant::now() < deadline, "they ended with their name space");
        open_again(&home);
    }
}
