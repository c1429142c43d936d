//! What a process may mount that is not root of the host.

use super::{Rootfs, bind, disk_volume, loop_devices, named, tmpfs, written_down};
use crate::support::child::name_of;
use crate::support::home::attach_at;
use crate::support::home::name;
use crate::support::skip::skip;
use crate::support::worker;
use sandbox_volumes::error::Error;
use sandbox_volumes::model::VolumeSpec;
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::process::Command;

#[test]
#[ignore = "a worker that the tests start as a second process"]
fn worker_with_other_privileges() {
    let Some(dir) = worker::home() else { return };
    let path = dir.join("home");
    let store = Store::open(&path, Durability::Full).unwrap();
    store.create(&name("data"), &VolumeSpec::from_options(&[]).unwrap(), &CancelToken::default()).unwrap();
    fs::write(dir.join("file"), "of the host").unwrap();
    let rootfs = Rootfs::new();
    let told = |result: Result<(), Error>| result.map_or_else(|error| error.to_string(), |()| String::new());
    let mounts = [
        ("/data", named("data", json!({ "readonly": true }))),
        ("/file", bind(&dir.join("file"), json!({}))),
        ("/tmp", tmpfs(json!({ "sizeMib": 1 }))),
    ];
    let attached = attach_at(&store, &mounts).unwrap();
    worker::say(told(store.mount_into(&attached, rootfs.0.path(), &CancelToken::default())));
    let read = fs::read_to_string(rootfs.path("file")).unwrap_or_default();
    worker::say(format!("{} {read}", rootfs.mounts().join(" ")));
    store.detach(attached.id).unwrap();
    worker::say(format!("{} {}", rootfs.mounts().len(), written_down(&path)));
    let other = Rootfs::new();
    let attached =
        attach_at(&store, &[("/tmp", tmpfs(json!({}))), ("/tmp/db", disk_volume("db", json!({})))]).unwrap();
    worker::say(told(store.mount_into(&attached, other.0.path(), &CancelToken::default())));
    let devices = loop_devices::showing(&path.join("volumes/db/disk.raw"));
    worker::say(format!("{} {} {devices}", other.mounts().len(), other.entries().len()));
}

/// What the worker says when this command starts it in a directory that all users may write. Returns `None` if it does
/// not start.
fn answers(command: &[&str]) -> Option<Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let shared = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(dir.path(), shared).unwrap();
    // Ordinary users may not go where this test binary is.
    let binary = dir.path().join("worker");
    // By another process: one that another test forks now must not inherit a descriptor that can write to the binary,
    // or running it fails with ETXTBSY.
    let copied = Command::new("cp").arg(std::env::current_exe().unwrap()).arg(&binary).status().unwrap();
    assert!(copied.success());
    let output = Command::new(command[0])
        .args(&command[1..])
        .arg(&binary)
        .args(["--exact", name_of(worker_with_other_privileges), "--ignored", "--nocapture"])
        .env(worker::HOME, dir.path())
        .output();
    let works = Command::new(command[0]).args(&command[1..]).arg("true").output();
    if !works.is_ok_and(|tried| tried.status.success()) {
        skip(format_args!("{} does not work here", command.join(" ")));
        return None;
    }
    let output = output.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    Some(said.lines().map(str::to_owned).collect())
}

fn assert_all_but_disks(said: &[String]) {
    let [mounted, seen, detached, refused, left] = said else { panic!("{said:?}") };
    assert_eq!((mounted.as_str(), seen.as_str()), ("", "/data /file /tmp of the host"));
    assert_eq!(detached, "0 0");
    assert!(refused.contains("a disk needs root of the host"), "{refused}");
    assert!(refused.starts_with("EPERM: ") || refused.starts_with("EACCES: "), "{refused}");
    assert_eq!(left, "0 0 0");
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn an_ordinary_user_mounts_all_but_disks_in_a_user_name_space() {
    let unshare = ["unshare", "--user", "--map-root-user", "--mount"];
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let command = if is_root() { [&nobody[..], &unshare[..]].concat() } else { unshare.to_vec() };
    if let Some(said) = answers(&command) {
        assert_all_but_disks(&said);
    }
}

#[test]
fn root_in_a_user_name_space_mounts_all_but_disks_too() {
    if !is_root() {
        return skip("only root is root already");
    }
    if let Some(said) = answers(&["unshare", "--user", "--map-root-user", "--mount"]) {
        assert_all_but_disks(&said);
    }
}

#[test]
fn without_the_right_to_mount_nothing_is_left_but_an_error_that_says_what_is_needed() {
    let without: &[&str] = match is_root() {
        true => &["setpriv", "--inh-caps=-sys_admin", "--bounding-set=-sys_admin"],
        false => &["env"],
    };
    let Some(said) = answers(without) else { return };
    let [mounted, seen, detached, refused, left] = &said[..] else { panic!("{said:?}") };
    for error in [mounted, refused] {
        assert!(error.starts_with("EPERM: mounting "), "{error}");
    }
    assert!(mounted.contains("CAP_SYS_ADMIN"), "{mounted}");
    assert_eq!((seen.as_str(), detached.as_str(), left.as_str()), (" ", "0 0", "0 0 0"));
}
