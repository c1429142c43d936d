//! What a mount does not let anybody do.

use super::listed::{ListedMount, mounts_below};
use super::{Home, Rootfs, bind, disk_volume, named, tmpfs};
use crate::support::mount_namespace::enter_namespace;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use serde_json::{Value, json};
use std::fs;
use std::io::ErrorKind;

fn listed(rootfs: &Rootfs, place: &str) -> ListedMount {
    mounts_below(rootfs.0.path()).into_iter().find(|mount| mount.place == place).unwrap()
}

#[test]
fn each_kind_has_the_flags_that_were_asked_for_and_always_nosuid_and_nodev() {
    if !enter_namespace() {
        return;
    }
    for options in [
        json!({}),
        json!({ "readonly": true }),
        json!({ "noexec": true }),
        json!({ "readonly": true, "noexec": true, "nosuid": true, "nodev": true }),
    ] {
        let (home, rootfs, host) = (Home::new(), Rootfs::new(), tempfile::tempdir().unwrap());
        home.create("data");
        fs::write(host.path().join("file"), "").unwrap();
        let mounts = [
            ("/bind", bind(host.path(), options.clone())),
            ("/file", bind(&host.path().join("file"), options.clone())),
            ("/data", named("data", options.clone())),
            ("/disk", disk_volume("db", options.clone())),
            ("/tmpfs", tmpfs(options.clone())),
        ];
        let attached = home.mounted(&mounts, &rootfs);
        let asked = |flag: &str| options.get(flag) == Some(&Value::Bool(true));
        let flag = |name: &str| if asked(name) { Some(name.to_owned()) } else { None };
        for (place, _) in &mounts {
            let mount = listed(&rootfs, place);
            let mut wanted = vec![if asked("readonly") { "ro" } else { "rw" }.to_owned()];
            wanted.extend(["nosuid".to_owned(), "nodev".to_owned()]);
            wanted.extend(flag("noexec"));
            let known = ["ro", "rw", "nosuid", "nodev", "noexec"];
            let actual: Vec<_> =
                mount.flags.iter().filter(|flag| known.contains(&flag.as_str())).cloned().collect();
            assert_eq!(actual, wanted, "{place} with {options}");
            assert!(!mount.flags.iter().any(|tag| tag.starts_with("shared:")), "{mount:?}");
        }
        if asked("readonly") {
            for place in ["bind", "data", "disk", "tmpfs"] {
                let refused = fs::write(rootfs.path(place).join("x"), "").unwrap_err();
                assert_eq!(refused.raw_os_error(), Some(Errno::EROFS as i32), "{place}");
            }
        }
        home.unmount(&attached).unwrap();
    }
}

#[test]
fn a_tmpfs_has_its_size_and_no_more() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs) = (Home::new(), Rootfs::new());
    home.mounted(&[("/small", tmpfs(json!({ "sizeMib": 1 })))], &rootfs);
    fs::write(rootfs.path("small/fits"), vec![1; 1000 << 10]).unwrap();
    let refused = fs::write(rootfs.path("small/more"), vec![1; 100 << 10]).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
}

#[test]
fn a_readonly_tmpfs_has_the_mount_points_of_what_is_mounted_in_it() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs, host) = (Home::new(), Rootfs::new(), tempfile::tempdir().unwrap());
    fs::write(host.path().join("file"), "bound").unwrap();
    let mounts = [
        ("/a", tmpfs(json!({ "readonly": true }))),
        ("/a/b", tmpfs(json!({}))),
        ("/a/b/c", tmpfs(json!({}))),
        ("/a/d/e", tmpfs(json!({}))),
        ("/a/file", bind(&host.path().join("file"), json!({}))),
    ];
    let attached = home.mounted(&mounts, &rootfs);
    assert_eq!(rootfs.mounts(), ["/a", "/a/b", "/a/b/c", "/a/d/e", "/a/file"]);
    assert_eq!(fs::read_to_string(rootfs.path("a/file")).unwrap(), "bound");
    assert_eq!(fs::write(rootfs.path("a/x"), "").unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    home.unmount(&attached).unwrap();
    assert_eq!(rootfs.mounts(), [""; 0]);
}

#[test]
fn what_is_mounted_below_a_source_stays_out_then_and_later() {
    if !enter_namespace() {
        return;
    }
    let (home, rootfs, host) = (Home::new(), Rootfs::new(), Rootfs::new());
    // As most systems have theirs: what is mounted in it appears in its copies, unless they are made not to show it.
    mount(Some("tmpfs"), host.0.path(), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    mount(None::<&str>, host.0.path(), None::<&str>, MsFlags::MS_SHARED, None::<&str>).unwrap();
    let inner = [("/before", tmpfs(json!({})))];
    home.mounted(&inner, &host);
    fs::write(host.path("before/file"), "").unwrap();
    fs::create_dir(host.path("later")).unwrap();
    home.mounted(&[("/bind", bind(host.0.path(), json!({})))], &rootfs);
    home.mounted(&[("/later", tmpfs(json!({})))], &host);
    fs::write(host.path("later/file"), "").unwrap();
    for place in ["before", "later"] {
        assert_eq!(fs::read_dir(rootfs.path("bind").join(place)).unwrap().count(), 0, "{place}");
    }
}
