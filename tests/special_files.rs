//! FIFOs, sockets and devices in a volume: refused at once, without their other end ever noticing.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "support/listing.rs"]
mod listing;
#[path = "support/opens.rs"]
mod opens;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/volume.rs"]
mod volume;

use listing::{kind, listed, paths};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::{mkfifo, mkfifoat};
use opens::Opens;
use sandbox_volumes::content::WriteOptions;
use sandbox_volumes::error::Error;
use sandbox_volumes::model::Cancel;
use serde_json::json;
use skip::skip;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};
use volume::Volume;

/// Generous for a busy machine: what hangs would hang for ever.
const AT_ONCE: Duration = Duration::from_secs(10);

fn calls(volume: &Volume, path: &str) -> [(&'static str, Result<(), Error>, Duration); 4] {
    let cancel = Cancel::default();
    let write =
        |atomic| volume.files.write(path, b"x", WriteOptions { atomic, ..WriteOptions::default() }, &cancel);
    let timed = |name, call: &dyn Fn() -> Result<(), Error>| {
        let start = Instant::now();
        let result = call();
        (name, result, start.elapsed())
    };
    [
        timed("read", &|| volume.files.open(path)?.read(&cancel).map(drop)),
        timed("readString", &|| volume.files.open(path)?.read_string(&cancel).map(drop)),
        timed("write", &|| write(false)),
        timed("writeAtomic", &|| write(true)),
    ]
}

/// Holds every method against the special file `special` of the volume, directly and through a link.
fn check(volume: &Volume) {
    let root = volume.files.root();
    symlink("special", root.join("link")).unwrap();
    let opens = Opens::watch(&root.join("special"));
    for path in ["special", "link"] {
        for (method, result, took) in calls(volume, path) {
            println!("{method}({path}): {took:?}");
            let error = result.unwrap_err();
            assert_eq!(error.code(), "ENOTSUP", "{method}({path}): {error}");
            assert!(error.to_string().contains("not a regular file"), "{error}");
            assert!(took < AT_ONCE, "{method}({path}) took {took:?}");
            assert!(!opens.any(), "{method}({path}) opened it");
        }
        assert!(volume.files.exists(path).unwrap());
        assert_eq!(kind(volume.files.stat(path, true).unwrap().mode), "other");
        assert_eq!(volume.files.mkdir(path, &Cancel::default()).unwrap_err().code(), "EEXIST");
    }
    assert_eq!(paths(&listed(&volume.files, "", true).unwrap()), ["link", "special"]);
    volume.files.rename("special", "renamed", &Cancel::default()).unwrap();
    volume.files.rename("renamed", "special", &Cancel::default()).unwrap();
    let error = volume.files.remove("special/", &Cancel::default()).unwrap_err();
    assert_eq!(error.code(), "ENOTDIR");
    assert!(!opens.any());
}

fn check_removal(volume: &Volume) {
    volume.files.remove("special", &Cancel::default()).unwrap();
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
    volume.store.get(&volume.name, &Cancel::default()).unwrap();
    volume.files.remove_all("dir", &Cancel::default()).unwrap();
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
    volume.files.mkdir(&deep, &Cancel::default()).unwrap();
    let half = File::open(root.join(&deep[..251 * 8 - 1])).unwrap();
    mkfifoat(half, Path::new(&deep[251 * 8..]).join("special").as_path(), Mode::S_IRWXU).unwrap();
    symlink(format!("{deep}/special"), root.join("link")).unwrap();
    for (method, result, took) in calls(&volume, "link") {
        assert_eq!(result.unwrap_err().code(), "ENOTSUP", "{method}");
        assert!(took < AT_ONCE, "{method} took {took:?}");
    }
}
