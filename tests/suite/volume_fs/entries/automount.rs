//! Automount points: looking at one mounts nothing.

use crate::support::methods::Backend;
use crate::support::mount_namespace::enter_namespace;
use crate::support::skip::skip;
use crate::support::volume::Volume;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::json;
use std::ffi::OsStr;
use std::fs;

#[test]
fn looking_at_an_automount_point_mounts_nothing() {
    if !enter_namespace() {
        return;
    }
    let volume = Volume::new(json!({}));
    let place = volume.files.root().join("debug");
    fs::create_dir(&place).unwrap();
    if let Err(errno) = mount(Some("debugfs"), &place, Some("debugfs"), MsFlags::empty(), None::<&str>) {
        return skip(format!("debugfs cannot be mounted: {errno}"));
    }
    // The kernel mounts tracefs here when a process walks into the directory.
    let names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let has_tracing = names.iter().any(|name| name == "tracing");
    let mounts = || fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines().count();
    let before = mounts();
    for (method, path) in
        [("list", "debug"), ("listAll", ""), ("stat", "debug/tracing"), ("statLink", "debug/tracing")]
    {
        let _refused = volume.call(method, OsStr::new(path));
        assert_eq!(mounts(), before, "{method} of {path:?} mounted something");
    }
    volume.used_bytes();
    assert_eq!(mounts(), before, "usedBytes mounted something");
    // The check above can fail: this is what mounts.
    let walked = fs::read_dir(place.join("tracing")).is_ok();
    let after = mounts();
    umount2(&place, MntFlags::MNT_DETACH).unwrap();
    match has_tracing && walked {
        true => assert_eq!(after, before + 1),
        false => skip("this kernel has no automount point in debugfs"),
    }
}
