//! Images that are no regular files, and images that are swapped.

use super::{Opens, inspect, refused};
use crate::support::skip::skip;
use crate::support::watchdog::watched;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::mkfifo;
use sandbox_volumes::image;
use sandbox_volumes::model::DiskFormat;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

#[test]
fn case_37_a_fifo_directory_socket_or_device_is_refused_without_being_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    mkfifo(&path("fifo"), Mode::S_IRWXU).unwrap();
    fs::create_dir(path("directory")).unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();
    let mut kinds = vec!["fifo", "directory", "socket"];
    match mknod(&path("device"), SFlag::S_IFBLK, Mode::S_IRWXU, makedev(7, 250)) {
        Ok(()) => kinds.push("device"),
        Err(errno) => skip(format_args!("device nodes need root and CAP_MKNOD: {errno}")),
    }
    for kind in kinds {
        symlink(kind, path(&format!("{kind}.raw"))).unwrap();
        let opens = Opens::watch(&path(kind));
        for name in [kind, &format!("{kind}.raw")] {
            watched(name, || refused(&path(name), "not a regular file"));
            assert!(!opens.any(), "{name} was opened");
        }
    }
}

#[test]
fn case_37_an_empty_image_is_refused_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["disk", "disk.raw", "disk.qcow2", "disk.vmdk"] {
        fs::write(dir.path().join(name), "").unwrap();
        refused(&dir.path().join(name), "is empty");
    }
}

#[test]
fn case_37_an_image_that_is_swapped_after_it_was_opened_is_the_one_that_was_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.raw");
    fs::write(&path, vec![0; 4096]).unwrap();
    let opened = image::open(&path, |_, _| Ok(())).unwrap();
    fs::rename(&path, dir.path().join("moved")).unwrap();
    fs::write(&path, vec![0; 8192]).unwrap();
    let found = image::inspect(&opened.file, &path, opened.directory.as_fd(), None).unwrap();
    assert_eq!(found.capacity_bytes, 4096);
}

#[test]
fn a_link_is_followed_to_the_image_and_to_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("images")).unwrap();
    fs::write(dir.path().join("images/disk.raw"), vec![0; 4096]).unwrap();
    symlink("images/disk.raw", dir.path().join("link.img")).unwrap();
    let opened = image::open(&dir.path().join("link.img"), |_, _| Ok(())).unwrap();
    assert_eq!(opened.path, fs::canonicalize(dir.path()).unwrap().join("images/disk.raw"));
    assert_eq!(inspect(&dir.path().join("link.img"), None).unwrap().format, DiskFormat::Raw);
}

#[test]
fn a_missing_image_is_what_the_system_says() {
    let dir = tempfile::tempdir().unwrap();
    let error = inspect(&dir.path().join("nothing.raw"), None).unwrap_err();
    assert_eq!(error.code(), "ENOENT");
}
