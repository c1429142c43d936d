//! Every way by which the host writes, at the limit exactly.

use super::{ATOMIC, MANY, PLAIN};
use crate::support::private::Private;
use crate::support::volume::Volume;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::MIB;
use sandbox_volumes::store::TransferOptions;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{AppendOptions, WriteFrom, WriteOptions};
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

const BLOCK: usize = 4096;

/// How much each way adds to the volume.
const ADDED: usize = 4 * BLOCK;

/// A file that is there before, of a block.
const OLD: [u8; BLOCK] = [1; BLOCK];

/// Adds [`ADDED`] bytes of blocks to the volume.
type Way = fn(&Volume) -> Result<(), Error>;

const WAYS: [(&str, Way); 18] = [
    ("write", |it| it.write_bytes("new", ADDED, PLAIN)),
    ("write over", |it| it.write_bytes("old", ADDED + BLOCK, PLAIN)),
    ("atomic write", |it| it.write_bytes("new", ADDED, ATOMIC)),
    ("atomic write over", |it| it.write_bytes("old", ADDED + BLOCK, ATOMIC)),
    ("append to nothing", |it| it.append("new")),
    ("append", |it| it.append("old")),
    ("stream", |it| it.stream("new", ADDED, PLAIN, WriteFrom::Empty)),
    ("stream over", |it| it.stream("old", ADDED + BLOCK, ATOMIC, WriteFrom::Empty)),
    ("atomic stream", |it| it.stream("new", ADDED, ATOMIC, WriteFrom::Empty)),
    ("stream to the end", |it| it.stream("old", ADDED, PLAIN, WriteFrom::End)),
    ("stream from a position", |it| it.stream("old", ADDED + 1000, PLAIN, WriteFrom::Position(3096))),
    ("copy", |it| it.files.copy("source", "new", &CancelToken::default()).map(drop)),
    ("copy over", |it| it.files.copy("longer", "old", &CancelToken::default()).map(drop)),
    ("copy of a tree", |it| it.files.copy("tree", "new", &CancelToken::default()).map(drop)),
    ("copyIn", |it| it.copy_in("source", "new")),
    ("copyIn over", |it| it.copy_in("longer", "old")),
    ("copyIn of a tree", |it| it.copy_in("tree", "new")),
    ("mkdir", |it| it.files.mkdir("new/b/c/d", &CancelToken::default())),
];

/// Makes an entry without content, which is called "new".
const WITHOUT_CONTENT: [(&str, Way); 10] = [
    ("write", |it| it.write_bytes("new", 0, PLAIN)),
    ("atomic write", |it| it.write_bytes("new", 0, ATOMIC)),
    ("append", |it| it.files.append("new", b"", AppendOptions::default(), &CancelToken::default())),
    ("stream", |it| it.stream("new", 0, PLAIN, WriteFrom::Empty)),
    ("atomic stream", |it| it.stream("new", 0, ATOMIC, WriteFrom::Empty)),
    ("stream to the end", |it| it.stream("new", 0, PLAIN, WriteFrom::End)),
    ("copy", |it| it.files.copy("empty", "new", &CancelToken::default()).map(drop)),
    ("copyIn", |it| it.copy_in("empty", "new")),
    ("copyIn of a file into a tree", |it| it.copy_in("with file", "merged")),
    ("copyIn of a link into a tree", |it| it.copy_in("with link", "merged")),
];

impl Volume {
    fn write_bytes(&self, path: &str, length: usize, options: WriteOptions) -> Result<(), Error> {
        self.files.write(path, &vec![2; length], options, &CancelToken::default())
    }

    fn append(&self, path: &str) -> Result<(), Error> {
        self.files.append(path, &[2; ADDED], AppendOptions::default(), &CancelToken::default())
    }

    fn stream(&self, path: &str, length: usize, options: WriteOptions, from: WriteFrom) -> Result<(), Error> {
        let cancel = CancelToken::default();
        let mut writer = self.files.open_writer(path, options, from, &cancel)?;
        let content = vec![2; length];
        content.chunks(1500).try_for_each(|piece| writer.write(piece, &cancel))?;
        writer.finish(&cancel)
    }

    fn copy_in(&self, from: &str, to: &str) -> Result<(), Error> {
        let (host, options) = (self.outside.join(from), TransferOptions::default());
        self.files.copy_in(&host, to, options, &CancelToken::default()).map(drop)
    }

    /// Makes it one that is not measured each time, without taking a block but for a directory's.
    fn fill_with_empty(&self) {
        let dir = self.files.root().join("merged");
        (0..MANY).for_each(|at| fs::write(dir.join(at.to_string()), "").unwrap());
    }

    /// One of 1 MiB, of which this many bytes are left.
    fn with_room(left: usize) -> Self {
        Volume::with_room_in(&std::env::temp_dir(), left)
    }

    fn with_room_in(dir: &Path, left: usize) -> Self {
        let volume = Volume::new_in(dir, json!({ "quotaMib": 1 }));
        for dir in [&volume.outside, volume.files.root()] {
            fs::write(dir.join("source"), [2; ADDED]).unwrap();
            fs::write(dir.join("longer"), [2; ADDED + BLOCK]).unwrap();
            fs::create_dir(dir.join("tree")).unwrap();
            fs::write(dir.join("tree/file"), [2; ADDED - BLOCK]).unwrap();
        }
        fs::write(volume.files.root().join("old"), OLD).unwrap();
        let room = MIB - volume.used_bytes();
        fs::write(volume.files.root().join("ballast"), vec![1; room as usize - left]).unwrap();
        assert_eq!(volume.used_bytes() + left as u64, MIB);
        volume
    }
}

#[test]
fn case_45_each_way_of_writing_fills_the_volume_to_its_limit() {
    for (name, way) in WAYS {
        let volume = Volume::with_room(ADDED);
        way(&volume).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(volume.used_bytes(), MIB, "{name}");
        assert_eq!(
            volume.write_bytes("more", 1, PLAIN).unwrap_err().kind(),
            ErrorKind::QuotaExceeded,
            "{name}"
        );
    }
}

#[test]
fn case_45_each_way_of_writing_is_refused_over_the_limit_and_leaves_the_room_to_others() {
    const LEFT: usize = ADDED - BLOCK;
    for (name, way) in WAYS {
        let volume = Volume::with_room(LEFT);
        let error = way(&volume).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{name}: {error}");
        let staged = fs::read_dir(volume.files.root().with_file_name(".staging")).unwrap().count();
        assert_eq!(staged, 0, "{name}");
        let is_plain_stream = name.contains("stream") && !name.contains("atomic") && name != "stream over";
        if is_plain_stream {
            // It wrote what fitted.
            assert!(volume.used_bytes() <= MIB, "{name}");
        } else {
            assert_eq!(volume.used_bytes(), MIB - LEFT as u64, "{name}");
            assert!(!volume.files.exists("new").unwrap(), "{name}");
            assert_eq!(fs::read(volume.files.root().join("old")).unwrap(), OLD, "{name}");
        }
        let room = (MIB - volume.used_bytes()) as usize;
        volume.write_bytes("just fits", room, ATOMIC).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(volume.used_bytes(), MIB, "{name}");
    }
}

#[test]
fn case_45_each_entry_without_content_is_admitted_charged_and_refused_over_the_limit() {
    let Some(private) = Private::new() else { return };
    for (name, way) in WITHOUT_CONTENT {
        let volume = Volume::with_room_in(private.path(), BLOCK);
        for dir in [&volume.outside, volume.files.root()] {
            fs::write(dir.join("empty"), "").unwrap();
        }
        for dir in ["with file", "with link"] {
            fs::create_dir(volume.outside.join(dir)).unwrap();
        }
        fs::write(volume.outside.join("with file/new"), "").unwrap();
        symlink("new", volume.outside.join("with link/new")).unwrap();
        volume.files.mkdir("merged", &CancelToken::default()).unwrap();
        volume.fill_with_empty();
        fs::write(volume.files.root().join("guest"), [1; 2 * BLOCK]).unwrap();
        let is_there = || ["new", "merged/new"].iter().any(|path| volume.files.stat(path, false).is_ok());
        let error = way(&volume).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::QuotaExceeded, "{name}: {error}");
        assert!(!is_there(), "{name}");

        for path in ["guest", "ballast"] {
            fs::remove_file(volume.files.root().join(path)).unwrap();
        }
        volume.write_bytes("first", BLOCK, PLAIN).unwrap();
        let before = volume.kept();
        way(&volume).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(is_there(), "{name}");
        let after = volume.kept();
        assert_eq!(after.measured_at, before.measured_at, "{name}");
        assert!(after.charged > before.charged, "{name}: its directory may have grown");
        // What takes the place of another makes no entry.
        fs::write(volume.files.root().join("guest"), vec![1; MIB as usize]).unwrap();
        match name.contains("link") {
            true => way(&volume).unwrap_or_else(|error| panic!("{name} again: {error}")),
            false => volume.stream("first", 0, PLAIN, WriteFrom::Empty).unwrap(),
        }
    }
}

#[test]
fn case_45_what_takes_no_room_is_done_in_a_full_volume() {
    let volume = Volume::with_room(0);
    let cancel = CancelToken::default();
    volume.files.rename("old", "renamed", &cancel).unwrap();
    volume.files.rename("tree", "renamed tree", &cancel).unwrap();
    volume.files.mkdir("renamed tree", &cancel).unwrap();
    volume.write_bytes("renamed", BLOCK, PLAIN).unwrap();
    volume.write_bytes("renamed", BLOCK, ATOMIC).unwrap();
    volume.files.append("renamed", b"", AppendOptions::default(), &cancel).unwrap();
    volume.stream("renamed", BLOCK, PLAIN, WriteFrom::Position(0)).unwrap();
    volume.stream("renamed", BLOCK, ATOMIC, WriteFrom::Empty).unwrap();
    volume.write_bytes("empty", 0, PLAIN).unwrap();
    volume.stream("empty stream", 0, PLAIN, WriteFrom::Empty).unwrap();
    fs::write(volume.outside.join("empty"), "").unwrap();
    volume.copy_in("empty", "empty copy").unwrap();
    volume.copy_in("source", "source").unwrap();
    assert_eq!(volume.used_bytes(), MIB);
}
