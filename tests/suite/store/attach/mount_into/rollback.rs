//! What a failure or a cancellation leaves: nothing.

use super::{Home, Rootfs, bind, disk_volume, loop_devices, named, tmpfs};
use crate::support::mount_namespace::enter_namespace;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::mount::MountConfig;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;

#[test]
fn a_failure_at_the_last_mount_takes_the_others_away_with_the_directories_made_for_them() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.create("data");
    fs::create_dir_all(rootfs.path("there")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), rootfs.path("z")).unwrap();
    let attached = home
        .attach_at(&[
            ("/a/b", named("data", json!({}))),
            ("/a/b/c", disk_volume("db", json!({}))),
            ("/there/d", tmpfs(json!({}))),
            ("/z/last", tmpfs(json!({}))),
        ])
        .unwrap();
    let error = home.mount(&attached, &rootfs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PathEscape, "{error}");
    assert!(error.to_string().contains("\"/z/last\""), "{error}");
    assert_eq!((rootfs.mounts().len(), home.written_down()), (0, 0));
    let mut entries = rootfs.entries();
    entries.sort();
    assert_eq!(entries, ["there", "z"]);
    assert_eq!(fs::read_dir(rootfs.path("there")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(home.path("volumes/data")).unwrap().count(), 0);
    loop_devices::assert_none_soon(&home.path("volumes/db/disk.raw"));
    fs::remove_file(rootfs.path("z")).unwrap();
    home.mount(&attached, &rootfs).unwrap();
    assert_eq!(rootfs.mounts().len(), 4);
}

#[test]
fn a_source_that_is_not_what_was_attached_is_not_followed() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs, host) = (Home::new(), Rootfs::new(), tempfile::tempdir().unwrap());
    fs::create_dir(host.path().join("source")).unwrap();
    let attached = home.attach_at(&[("/a", bind(&host.path().join("source"), json!({})))]).unwrap();
    fs::remove_dir(host.path().join("source")).unwrap();
    assert_eq!(home.mount(&attached, &rootfs).unwrap_err().code(), "ENOENT");
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(elsewhere.path(), host.path().join("source")).unwrap();
    assert_eq!(home.mount(&attached, &rootfs).unwrap_err().code(), "ELOOP");
    fs::remove_file(host.path().join("source")).unwrap();
    fs::write(host.path().join("source"), "").unwrap();
    assert_eq!(home.mount(&attached, &rootfs).unwrap_err().code(), "ENOTDIR");
    assert_eq!((rootfs.mounts().len(), rootfs.entries().len()), (0, 0));
}

#[test]
fn what_only_virtiofs_keeps_is_refused() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.create("data");
    let attached =
        home.attach_at(&[("/a", named("data", json!({ "statVirtualization": "strict" })))]).unwrap();
    let error = home.mount(&attached, &rootfs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedMount);
    assert!(error.to_string().starts_with("The host's kernel cannot express the mount at \"/a\""), "{error}");
}

#[test]
fn one_that_is_cancelled_at_any_moment_is_whole_or_leaves_nothing() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    let mounts: Vec<_> = (0..8).map(|at| (format!("/{at}/x"), tmpfs(json!({})))).collect();
    let mounts: Vec<(&str, MountConfig)> = mounts.iter().map(|(at, m)| (at.as_str(), m.clone())).collect();
    let attached = home.attach_at(&mounts).unwrap();
    let mut outcomes = [0, 0];
    for round in 0..100u32 {
        let cancel = CancelToken::default();
        let canceller = cancel.clone();
        let thread = std::thread::spawn(move || {
            (0..round * 8000).for_each(|_| std::hint::spin_loop());
            canceller.cancel()
        });
        let mounted = home.store.mount_into(&attached, rootfs.0.path(), &cancel);
        let accepted = thread.join().unwrap();
        match mounted {
            Ok(()) => {
                assert!(!accepted, "a cancellation was accepted and did nothing");
                assert_eq!((rootfs.mounts().len(), home.written_down()), (8, 8));
                home.unmount(&attached).unwrap();
                rootfs.entries().iter().for_each(|entry| fs::remove_dir_all(rootfs.path(entry)).unwrap());
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Aborted);
                assert_eq!((rootfs.mounts().len(), rootfs.entries().len(), home.written_down()), (0, 0, 0));
            }
        }
        outcomes[usize::from(accepted)] += 1;
    }
    let cancel = CancelToken::default();
    cancel.cancel();
    let error = home.store.mount_into(&attached, rootfs.0.path(), &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    crate::support::report::report(format_args!("{} cancelled, {} made", outcomes[1], outcomes[0]));
}
