//! Kernels, or containers, that lack system calls by which mounts are made.

use super::{Home, Rootfs, disk_volume, named, tmpfs};
use crate::support::mount_namespace::enter_namespace;
use crate::support::skip::skip;
use nix::libc::{self, c_long};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::store::{Durability, Store};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use serde_json::json;
use std::os::unix::fs::symlink;

/// Takes a system call from this thread. False where that is not possible, which says that a test is skipped.
fn lacks(call: c_long) -> bool {
    answers(call, Vec::new(), libc::ENOSYS)
}

/// Has a system call that meets the rules do nothing in this thread but fail, or with 0 succeed.
fn answers(call: c_long, rules: Vec<SeccompRule>, error: i32) -> bool {
    let refused = [(call, rules)].into_iter().collect();
    let action = SeccompAction::Errno(error as u32);
    let here = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, action, here).unwrap();
    let filter: BpfProgram = filter.try_into().unwrap();
    let is_applied = apply_filter(&filter).is_ok();
    if !is_applied {
        skip("seccomp filters cannot be used here");
    }
    is_applied
}

fn refused_without(name: &str, call: c_long) {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.create("data");
    let mounts = [
        ("/data", named("data", json!({ "readonly": true }))),
        ("/db", disk_volume("db", json!({}))),
        ("/tmp", tmpfs(json!({}))),
    ];
    let attached = home.attach_at(&mounts).unwrap();
    if !lacks(call) {
        return;
    }
    let error = home.mount(&attached, &rootfs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnsupportedMount, "{error}");
    assert!(error.to_string().contains(&format!("{name}; mountInto() needs Linux 5.12")), "{error}");
    assert_eq!((rootfs.mounts().len(), rootfs.entries().len(), home.written_down()), (0, 0, 0));
    super::loop_devices::assert_none_soon(&home.path("volumes/db/disk.raw"));
}

#[test]
fn without_any_one_of_the_calls_that_make_mounts_nothing_is_mounted() {
    for (name, call) in [
        ("open_tree", libc::SYS_open_tree),
        ("mount_setattr", libc::SYS_mount_setattr),
        ("move_mount", libc::SYS_move_mount),
        ("fsopen", libc::SYS_fsopen),
        ("fsconfig", libc::SYS_fsconfig),
        ("fsmount", libc::SYS_fsmount),
    ] {
        // A filter stays with its thread.
        std::thread::spawn(move || refused_without(name, call)).join().unwrap();
    }
}

#[test]
fn without_openat2_mount_points_are_found_step_by_step_and_links_refused() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs, outside) = (Home::new(), Rootfs::new(), Rootfs::new());
    home.create("data");
    symlink(outside.0.path(), rootfs.path("link")).unwrap();
    if !lacks(libc::SYS_openat2) {
        return;
    }
    let attached = home.mounted(&[("/a/b", named("data", json!({}))), ("/a/b/c", tmpfs(json!({})))], &rootfs);
    assert_eq!(rootfs.mounts(), ["/a/b", "/a/b/c"]);
    home.store.detach(attached.id).unwrap();
    for place in ["/link", "/link/below"] {
        let attached = home.attach_at(&[(place, tmpfs(json!({})))]).unwrap();
        assert_eq!(home.mount(&attached, &rootfs).unwrap_err().kind(), ErrorKind::PathEscape);
        home.store.detach(attached.id).unwrap();
    }
    assert!(outside.mounts().is_empty() && outside.entries().is_empty());
}

/// What Linux 6.8 is asked for by `statx`: the number of a mount that no other one ever has.
const STATX_MNT_ID_UNIQUE: u64 = 0x4000;

#[test]
fn a_kernel_that_numbers_mounts_anew_has_them_taken_away_all_the_same() {
    if !enter_namespace() {
        return;
    }
    let asks = |argument, value| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value).unwrap()
    };
    let unique = SeccompRule::new(vec![asks(3, STATX_MNT_ID_UNIQUE)]).unwrap();
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.create("data");
    if !answers(libc::SYS_statx, vec![unique], 0) {
        return;
    }
    let mounts = [("/data", named("data", json!({}))), ("/tmp", tmpfs(json!({})))];
    let attached = home.mounted(&mounts, &rootfs);
    let catalog = rusqlite::Connection::open(home.path("db/volumes.db")).unwrap();
    let known: i64 =
        catalog.query_row("SELECT sum(unique_id) FROM host_mount", (), |row| row.get(0)).unwrap();
    assert_eq!((known, rootfs.mounts().len()), (0, 2));
    home.unmount(&attached).unwrap();
    assert_eq!((rootfs.mounts().len(), home.written_down()), (0, 0));
    home.mount(&attached, &rootfs).unwrap();
    // As if the process that has them had died.
    catalog.execute("UPDATE attachment SET start_time = start_time - 1", ()).unwrap();
    Store::open(&home.path(""), Durability::Full).unwrap();
    assert_eq!((rootfs.mounts().len(), home.written_down()), (0, 0));
}
