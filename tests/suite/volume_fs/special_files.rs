//! FIFOs, sockets and devices in a volume: refused at once, and never opened.

use crate::faulty::{Check, FaultyVolume};
use crate::support::listing::{kind, listed, paths};
use crate::support::methods::{Backend, Refusal};
use crate::support::openat2;
use crate::support::opens::Opens;
use crate::support::read_only::in_read_only_namespace;
use crate::support::skip::skip;
use crate::support::volume::Volume;
use crate::support::watchdog::watched;
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{mkfifo, mkfifoat};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;

/// The methods that do I/O on a regular file; one line each.
const METHODS: [&str; 4] = ["read", "readString", "write", "writeAtomic"];

/// Calls every method and gives what it is refused with. One that waits for another end waits for ever.
fn calls(volume: &Volume, path: &str) -> impl Iterator<Item = (&'static str, Refusal)> {
    METHODS.into_iter().map(move |method| {
        let refused = watched(method, || volume.call(method, OsStr::new(path)));
        (method, refused.unwrap_err())
    })
}

/// Holds every method against the special file `special` of the volume, directly and through a link.
fn check(volume: &Volume) {
    let root = volume.files.root();
    symlink("special", root.join("link")).unwrap();
    let opens = Opens::watch(&root.join("special"));
    for path in ["special", "link"] {
        for (method, Refusal { code, message, named }) in calls(volume, path) {
            assert_eq!(code, "ENOTSUP", "{method}({path}): {message}");
            assert_eq!(named, [path], "{message}");
            assert!(message.contains("not a regular file"), "{message}");
            assert!(!opens.any(), "{method}({path}) opened it");
        }
        assert!(volume.files.exists(path).unwrap());
        assert_eq!(kind(volume.files.stat(path, true).unwrap().mode), "other");
        assert_eq!(volume.files.mkdir(path, &CancelToken::default()).unwrap_err().code(), "EEXIST");
    }
    assert_eq!(paths(&listed(&volume.files, "", true).unwrap()), ["link", "special"]);
    volume.files.rename("special", "renamed", &CancelToken::default()).unwrap();
    volume.files.rename("renamed", "special", &CancelToken::default()).unwrap();
    let error = volume.files.remove("special/", &CancelToken::default()).unwrap_err();
    assert_eq!(error.code(), "ENOTDIR");
    assert!(!opens.any());
}

fn check_removal(volume: &Volume) {
    volume.files.remove("special", &CancelToken::default()).unwrap();
    assert!(!volume.files.exists("special").unwrap());
    assert!(!volume.files.exists("link").unwrap());
}

#[test]
fn case_10_a_fifo_without_another_end_is_refused_at_once() {
    let volume = Volume::new(json!({}));
    mkfifo(&volume.files.root().join("special"), Mode::S_IRWXU).unwrap();
    check(&volume);
    check_removal(&volume);
}

#[test]
fn case_10_a_fifo_with_another_end_is_refused_and_what_is_in_it_stays() {
    let volume = Volume::new(json!({}));
    let path = volume.files.root().join("special");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let mut ends = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    ends.write_all(b"kept").unwrap();
    check(&volume);
    let mut content = [0; 4];
    ends.read_exact(&mut content).unwrap();
    assert_eq!(&content, b"kept");
    check_removal(&volume);
}

#[test]
fn case_10_a_socket_is_refused_at_once() {
    let volume = Volume::new(json!({}));
    let _listener = UnixListener::bind(volume.files.root().join("special")).unwrap();
    check(&volume);
    check_removal(&volume);
}

#[test]
fn case_10_a_device_is_refused_at_once_and_its_driver_never_asked() {
    let volume = Volume::new(json!({}));
    for (kind, major, minor) in [(SFlag::S_IFCHR, 1, 5), (SFlag::S_IFCHR, 5, 0), (SFlag::S_IFBLK, 7, 250)] {
        let path = volume.files.root().join("special");
        if let Err(errno) = mknod(&path, kind, Mode::S_IRWXU, makedev(major, minor)) {
            skip(format_args!("device nodes need root and CAP_MKNOD: {errno}"));
            return;
        }
        check(&volume);
        check_removal(&volume);
        fs::remove_file(volume.files.root().join("link")).unwrap();
    }
}

#[test]
fn case_10_special_files_in_a_tree_are_removed_with_it() {
    let volume = Volume::new(json!({}));
    let dir = volume.files.root().join("dir");
    fs::create_dir(&dir).unwrap();
    mkfifo(&dir.join("fifo"), Mode::S_IRWXU).unwrap();
    let _listener = UnixListener::bind(dir.join("socket")).unwrap();
    volume.store.get(&volume.name, &CancelToken::default()).unwrap();
    volume.files.remove_all("dir", &CancelToken::default()).unwrap();
    assert!(!dir.exists());
}

#[test]
fn the_watch_sees_a_file_being_opened() {
    let volume = Volume::new(json!({}));
    let path = volume.outside.join("special");
    mkfifo(&path, Mode::S_IRWXU).unwrap();
    let opens = Opens::watch(&path);
    let flags = nix::libc::O_NONBLOCK;
    drop(OpenOptions::new().read(true).custom_flags(flags).open(&path).unwrap());
    assert!(opens.any());
}

#[test]
fn case_10_a_link_far_away_to_a_fifo_hangs_no_atomic_write() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    let deep = vec!["d".repeat(250); 16].join("/");
    volume.files.mkdir(&deep, &CancelToken::default()).unwrap();
    let half = File::open(root.join(&deep[..251 * 8 - 1])).unwrap();
    mkfifoat(half, Path::new(&deep[251 * 8..]).join("special").as_path(), Mode::S_IRWXU).unwrap();
    symlink(format!("{deep}/special"), root.join("link")).unwrap();
    for (method, refusal) in calls(&volume, "link") {
        assert_eq!(refusal.code, "ENOTSUP", "{method}");
    }
}

#[test]
fn faulty_operations_on_a_fifo_hang_until_it_has_another_end() {
    in_read_only_namespace(|| {
        for (check, method) in Check::ALL.into_iter().zip(["read", "readString", "write", "write"]) {
            let volume = Volume::new(json!({}));
            let fifo = volume.files.root().join("special");
            mkfifo(&fifo, Mode::S_IRWXU).unwrap();
            let faulty = FaultyVolume::in_volume(&volume, check);
            thread::scope(|scope| {
                let hanging = scope.spawn(move || faulty.call(method, OsStr::new("special")).is_ok());
                // Opening one end waits for the other one. So the call has opened its own, and it ended only after this
                // one.
                let other_end = watched("opening the other end", || match method {
                    "write" => OpenOptions::new().read(true).open(&fifo).unwrap(),
                    _ => OpenOptions::new().write(true).open(&fifo).unwrap(),
                });
                drop(other_end);
                watched(method, || hanging.join().unwrap());
            });
        }
    });
}

#[test]
fn case_18_special_files_are_refused_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["case_10"]);
}
