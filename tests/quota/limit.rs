//! Every way by which the host writes, at the limit exactly.

use crate::volume::Volume;
use crate::{ATOMIC, PLAIN};
use sandbox_volumes::content::{AppendOptions, WriteFrom, WriteOptions};
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Cancel, MIB};
use sandbox_volumes::store::TransferOptions;
use serde_json::json;
use std::fs;

const BLOCK: usize = 4096;

/// How much each way adds to the volume.
const ADDED: usize = 4 * BLOCK;

/// A file that is there before, of a block.
const OLD: [u8; BLOCK] = [1; BLOCK];

/// Adds [`ADDED`] bytes of blocks to the volume.
type Way = fn(&Volume) -> Result<(), Error>;

const WAYS: [(&str, Way); 18] = [
    ("write", |it| it.put("new", ADDED, PLAIN)),
    ("write over", |it| it.put("old", ADDED + BLOCK, PLAIN)),
    ("atomic write", |it| it.put("new", ADDED, ATOMIC)),
    ("atomic write over", |it| it.put("old", ADDED + BLOCK, ATOMIC)),
    ("append to nothing", |it| it.append("new")),
    ("append", |it| it.append("old")),
    ("stream", |it| it.stream("new", ADDED, PLAIN, WriteFrom::Empty)),
    ("stream over", |it| it.stream("old", ADDED + BLOCK, ATOMIC, WriteFrom::Empty)),
    ("atomic stream", |it| it.stream("new", ADDED, ATOMIC, WriteFrom::Empty)),
    ("stream to the end", |it| it.stream("old", ADDED, PLAIN, WriteFrom::End)),
    ("stream from a position", |it| it.stream("old", ADDED + 1000, PLAIN, WriteFrom::Position(3096))),
    ("copy", |it| it.files.copy("source", "new", &Cancel::default()).map(drop)),
    ("copy over", |it| it.files.copy("longer", "old", &Cancel::default()).map(drop)),
    ("copy of a tree", |it| it.files.copy("tree", "new", &Cancel::default()).map(drop)),
    ("copyIn", |it| it.copy_in("source", "new")),
    ("copyIn over", |it| it.copy_in("longer", "old")),
    ("copyIn of a tree", |it| it.copy_in("tree", "new")),
    ("mkdir", |it| it.files.mkdir("new/b/c/d", &Cancel::default())),
];

impl Volume {
    fn put(&self, path: &str, length: usize, options: WriteOptions) -> Result<(), Error> {
        self.files.write(path, &vec![2; length], options, &Cancel::default())
    }

    fn append(&self, path: &str) -> Result<(), Error> {
        self.files.append(path, &[2; ADDED], AppendOptions::default(), &Cancel::default())
    }

    fn stream(&self, path: &str, length: usize, options: WriteOptions, from: WriteFrom) -> Result<(), Error> {
        let cancel = Cancel::default();
        let mut writer = self.files.open_writer(path, options, from, &cancel)?;
        let content = vec![2; length];
        content.chunks(1500).try_for_each(|piece| writer.write(piece, &cancel))?;
        writer.finish(&cancel)
    }

    fn copy_in(&self, from: &str, to: &str) -> Result<(), Error> {
        let (host, options) = (self.outside.join(from), TransferOptions::default());
        self.files.copy_in(&host, to, options, &Cancel::default()).map(drop)
    }

    /// One of 1 MiB, of which this many bytes are left.
    fn with_room(left: usize) -> Self {
        let volume = Volume::new(json!({ "quotaMib": 1 }));
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
        assert_eq!(volume.put("more", 1, PLAIN).unwrap_err().kind(), ErrorKind::QuotaExceeded, "{name}");
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
        volume.put("just fits", room, ATOMIC).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(volume.used_bytes(), MIB, "{name}");
    }
}

#[test]
fn case_45_what_takes_no_room_is_done_in_a_full_volume() {
    let volume = Volume::with_room(0);
    let cancel = Cancel::default();
    volume.files.rename("old", "renamed", &cancel).unwrap();
    volume.files.rename("tree", "renamed tree", &cancel).unwrap();
    volume.files.mkdir("renamed tree", &cancel).unwrap();
    volume.put("renamed", BLOCK, PLAIN).unwrap();
    volume.put("renamed", BLOCK, ATOMIC).unwrap();
    volume.stream("renamed", BLOCK, PLAIN, WriteFrom::Position(0)).unwrap();
    volume.stream("renamed", BLOCK, ATOMIC, WriteFrom::Empty).unwrap();
    volume.put("empty", 0, PLAIN).unwrap();
    volume.copy_in("source", "source").unwrap();
    assert_eq!(volume.used_bytes(), MIB);
}
