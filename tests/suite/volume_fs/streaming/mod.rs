//! Streams: bounds, leftovers of unfinished ones, quotas, descriptors.

mod limit;

use crate::support::child::in_child;
use crate::support::openat2;
use crate::support::read_only::in_read_only_namespace;
use crate::support::volume::Volume;
use nix::errno::Errno;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::store::StreamWriter;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::{FileReader, ReadRange, WriteFrom, WriteOptions};
use serde_json::json;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

const PLAIN: WriteOptions = WriteOptions { atomic: false, durable: false, mode: None };
const ATOMIC: WriteOptions = WriteOptions { atomic: true, ..PLAIN };
const WHOLE: ReadRange = ReadRange { start: 0, end: None };

impl Volume {
    fn reader(&self, path: &str, range: ReadRange) -> FileReader {
        self.files.open_reader(path, range).unwrap()
    }

    fn content(&self, path: &str) -> String {
        fs::read_to_string(self.files.root().join(path)).unwrap()
    }

    fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        fs::write(self.files.root().join(path), content).unwrap();
    }

    fn sparse(&self, path: &str, length: u64) {
        File::create(self.files.root().join(path)).unwrap().set_len(length).unwrap();
    }
}

/// What is left to read, in pieces of so many bytes.
fn pieces(reader: &FileReader, length: usize) -> Vec<String> {
    let mut buffer = vec![0; length];
    let mut pieces = Vec::new();
    loop {
        let got = reader.read_next(&mut buffer, &CancelToken::default()).unwrap();
        if got == 0 {
            return pieces;
        }
        pieces.push(String::from_utf8(buffer[..got].to_vec()).unwrap());
    }
}

fn write(writer: &mut StreamWriter, content: impl AsRef<[u8]>) -> Result<(), Error> {
    writer.write(content.as_ref(), &CancelToken::default())
}

fn finish(mut writer: StreamWriter) -> Result<(), Error> {
    writer.finish(&CancelToken::default())
}

/// Where every open descriptor of this process below `dir` leads.
fn open_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let descriptors = fs::read_dir("/proc/self/fd").unwrap();
    let targets = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    targets.filter(|target| target.starts_with(dir)).collect()
}

#[test]
fn a_range_is_read_in_pieces_and_ends() {
    let volume = Volume::new(json!({}));
    volume.put("f", "0123456789");
    for (start, end, expected) in [
        (0, None, &["0123", "4567", "89"][..]),
        (3, None, &["3456", "789"]),
        (3, Some(3), &["3"]),
        (2, Some(9), &["2345", "6789"]),
        (8, Some(1 << 60), &["89"]),
        (0, Some(u64::MAX), &["0123", "4567", "89"]),
        (10, None, &[]),
        (11, Some(12), &[]),
    ] {
        let reader = volume.reader("f", ReadRange { start, end });
        assert_eq!(reader.left(), expected.concat().len() as u64, "{start} to {end:?}");
        assert_eq!(pieces(&reader, 4), expected, "{start} to {end:?}");
        assert_eq!(reader.left(), 0);
    }
}

/// What was there when a file was opened is read, and not what came to it later.
fn check_growing<R>(
    open: impl Fn(&Volume) -> R,
    rest: impl Fn(&mut R) -> Vec<String>,
) -> Result<(), [Vec<String>; 2]> {
    let volume = Volume::new(json!({}));
    volume.put("f", "0123456789");
    let mut reader = open(&volume);
    let mut guest = OpenOptions::new().append(true).open(volume.files.root().join("f")).unwrap();
    let read = [(); 2].map(|()| {
        guest.write_all(b"more").unwrap();
        rest(&mut reader)
    });
    if read == [vec!["0123", "4567", "89"], Vec::new()] { Ok(()) } else { Err(read) }
}

#[test]
fn case_13_a_file_that_grows_is_not_followed() {
    check_growing(|volume| volume.reader("f", WHOLE), |reader| pieces(reader, 4)).unwrap();
}

#[test]
fn case_13_a_faulty_reader_follows_a_file_that_grows() {
    in_read_only_namespace(|| {
        let open = |volume: &Volume| File::open(volume.files.root().join("f")).unwrap();
        let rest = |file: &mut File| {
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            content.as_bytes().chunks(4).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect()
        };
        let [first, second] = check_growing(open, rest).unwrap_err();
        assert_eq!((first.concat().as_str(), second.concat().as_str()), ("0123456789more", "more"));
    });
}

#[test]
fn case_13_a_file_that_shrinks_gives_what_was_there_and_stays_at_its_end() {
    let volume = Volume::new(json!({}));
    volume.put("f", "0123456789");
    let reader = volume.reader("f", WHOLE);
    let mut buffer = [0; 4];
    assert_eq!(reader.read_next(&mut buffer, &CancelToken::default()).unwrap(), 4);
    volume.put("f", "012345");
    assert_eq!(reader.read_next(&mut buffer, &CancelToken::default()).unwrap(), 2);
    volume.put("f", "0123456789");
    assert_eq!(reader.read_next(&mut buffer, &CancelToken::default()).unwrap(), 0);
}

#[test]
fn case_12_the_end_of_the_longest_file_is_reached() {
    let volume = Volume::new(json!({}));
    let lengths = [64 << 30, (1 << 44) - 4096, i64::MAX as u64];
    let longest = lengths
        .into_iter()
        .rev()
        .find(|length| File::create(volume.files.root().join("f")).unwrap().set_len(*length).is_ok());
    let length = longest.unwrap();
    println!("a file of {length} bytes");
    let reader = volume.reader("f", ReadRange { start: length - 10, end: None });
    assert_eq!(pieces(&reader, 8), ["\0".repeat(8), "\0".repeat(2)]);
    assert_eq!(volume.reader("f", WHOLE).left(), length);
}

#[test]
fn a_cancelled_reader_reads_nothing() {
    let volume = Volume::new(json!({}));
    volume.put("f", "content");
    let cancel = CancelToken::default();
    let reader = volume.reader("f", WHOLE);
    cancel.cancel();
    let error = reader.read_next(&mut [0; 4], &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert_eq!(pieces(&reader, 8), ["content"]);
}

#[test]
fn a_plain_writer_empties_the_file_and_goes_into_it() {
    let volume = Volume::new(json!({}));
    volume.put("f", "a longer old content");
    fs::hard_link(volume.files.root().join("f"), volume.files.root().join("link")).unwrap();
    let mut writer = volume.writer("f", PLAIN, WriteFrom::Empty);
    assert_eq!(volume.content("f"), "");
    write(&mut writer, "one ").unwrap();
    assert_eq!(volume.content("f"), "one ");
    write(&mut writer, "two").unwrap();
    finish(writer).unwrap();
    assert_eq!((volume.content("f"), volume.content("link")), ("one two".into(), "one two".into()));
}

#[test]
fn a_plain_writer_that_is_dropped_leaves_what_was_written() {
    let volume = Volume::new(json!({}));
    let mut writer = volume.writer("new", PLAIN, WriteFrom::Empty);
    write(&mut writer, "begun").unwrap();
    drop(writer);
    assert_eq!(volume.content("new"), "begun");
}

#[test]
fn an_atomic_writer_changes_nothing_until_it_finishes() {
    let volume = Volume::new(json!({}));
    volume.put("f", "old");
    fs::set_permissions(volume.files.root().join("f"), Permissions::from_mode(0o640)).unwrap();
    for path in ["f", "new"] {
        let mut writer = volume.writer(path, ATOMIC, WriteFrom::Empty);
        write(&mut writer, "begun").unwrap();
        assert_eq!(volume.staged(), 1);
        drop(writer);
        assert_eq!(volume.staged(), 0);
    }
    assert_eq!(volume.content("f"), "old");
    assert!(!volume.files.exists("new").unwrap());

    let mut writer = volume.writer("f", ATOMIC, WriteFrom::Empty);
    write(&mut writer, "new ").unwrap();
    write(&mut writer, "content").unwrap();
    assert_eq!(volume.content("f"), "old");
    finish(writer).unwrap();
    assert_eq!((volume.content("f"), volume.staged()), ("new content".into(), 0));
    assert_eq!(fs::metadata(volume.files.root().join("f")).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn an_atomic_writer_that_is_cancelled_before_it_finishes_leaves_the_old_content() {
    let volume = Volume::new(json!({}));
    volume.put("f", "old");
    let mut writer = volume.writer("f", ATOMIC, WriteFrom::Empty);
    write(&mut writer, "new").unwrap();
    let cancel = CancelToken::default();
    cancel.cancel();
    assert_eq!(writer.write(b"more", &cancel).unwrap_err().kind(), ErrorKind::Aborted);
    assert_eq!(writer.finish(&cancel).unwrap_err().kind(), ErrorKind::Aborted);
    drop(writer);
    assert_eq!((volume.content("f"), volume.staged()), ("old".into(), 0));
}

#[test]
fn a_cancelled_opening_neither_makes_nor_empties_a_file() {
    let volume = Volume::new(json!({}));
    volume.put("f", "old");
    let cancel = CancelToken::default();
    cancel.cancel();
    for options in [PLAIN, ATOMIC] {
        for path in ["f", "new"] {
            let opened = volume.files.open_writer(path, options, WriteFrom::Empty, &cancel);
            assert_eq!(opened.unwrap_err().kind(), ErrorKind::Aborted);
        }
    }
    assert_eq!((volume.content("f"), volume.staged()), ("old".into(), 0));
    assert!(!volume.files.exists("new").unwrap());
}

#[test]
fn a_writer_may_start_at_the_end_or_anywhere() {
    let volume = Volume::new(json!({}));
    for (from, expected) in [
        (WriteFrom::End, "0123456789xyz"),
        (WriteFrom::Position(0), "xyz3456789"),
        (WriteFrom::Position(4), "0123xyz789"),
        (WriteFrom::Position(9), "012345678xyz"),
        (WriteFrom::Position(11), "0123456789\0xyz"),
    ] {
        volume.put("f", "0123456789");
        let mut writer = volume.writer("f", PLAIN, from);
        write(&mut writer, "x").unwrap();
        write(&mut writer, "yz").unwrap();
        finish(writer).unwrap();
        assert_eq!(volume.content("f"), expected, "{from:?}");
    }
    for from in [WriteFrom::End, WriteFrom::Position(1)] {
        let mut writer = volume.writer("new", PLAIN, from);
        write(&mut writer, "x").unwrap();
        finish(writer).unwrap();
        fs::remove_file(volume.files.root().join("new")).unwrap();
    }
}

#[test]
fn what_a_guest_adds_meanwhile_is_not_overwritten_by_appending() {
    let volume = Volume::new(json!({}));
    for path in ["new", "old"] {
        volume.put("old", "");
        let mut writer = volume.writer(path, PLAIN, WriteFrom::End);
        write(&mut writer, "host ").unwrap();
        let mut guest = OpenOptions::new().append(true).open(volume.files.root().join(path)).unwrap();
        guest.write_all(b"guest ").unwrap();
        write(&mut writer, "host").unwrap();
        assert_eq!(volume.content(path), "host guest host");
    }
}

#[test]
fn case_20_a_writer_does_not_finish_in_a_volume_that_was_removed_or_made_again() {
    for options in [PLAIN, ATOMIC, WriteOptions { durable: true, ..PLAIN }] {
        for again in [false, true] {
            let volume = Volume::new(json!({}));
            volume.put("f", "old");
            let reader = volume.reader("f", WHOLE);
            let mut writer = volume.writer("new", options, WriteFrom::Empty);
            volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
            if again {
                let spec = sandbox_volumes::model::VolumeSpec::from_options(&[]).unwrap();
                volume.store.create(&volume.name, &spec, &CancelToken::default()).unwrap();
            }
            write(&mut writer, "x").unwrap();
            assert_eq!(finish(writer).unwrap_err().kind(), ErrorKind::VolumeNotFound);
            assert_eq!(volume.files.root().exists(), again);
            assert!(!volume.files.root().join("new").exists());
            assert_eq!(volume.staged(), 0);
            assert_eq!(pieces(&reader, 8), ["old"], "an open file stays readable");
        }
    }
}

#[test]
fn a_directory_moved_away_meanwhile_is_found_where_the_path_leads_at_the_end() {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    fs::create_dir(root.join("dir")).unwrap();
    let mut writer = volume.writer("dir/f", ATOMIC, WriteFrom::Empty);
    write(&mut writer, "x").unwrap();
    fs::rename(root.join("dir"), volume.outside.join("dir")).unwrap();
    std::os::unix::fs::symlink(volume.outside.join("dir"), root.join("dir")).unwrap();
    assert_eq!(finish(writer).unwrap_err().kind(), ErrorKind::PathEscape);
    assert_eq!(fs::read_dir(volume.outside.join("dir")).unwrap().count(), 0);
    assert_eq!(volume.staged(), 0);
}

#[test]
fn readers_and_writers_hold_few_descriptors_and_give_them_back() {
    in_child(|| {
        let volume = Volume::new(json!({}));
        volume.put("f", "content");
        assert!(volume.files.exists("f").unwrap(), "the store holds the root of a volume that was used");
        let home = fs::canonicalize(&volume.outside).unwrap().parent().unwrap().to_owned();
        let (before, reader) = (open_below(&home), volume.reader("f", WHOLE));
        assert_eq!(open_below(&home).len(), before.len() + 1);
        let plain = volume.writer("new", PLAIN, WriteFrom::Empty);
        let atomic = volume.writer("f", ATOMIC, WriteFrom::Empty);
        assert!(open_below(&home).len() <= before.len() + 7, "{:?}", open_below(&home));
        drop((reader, plain, atomic));
        assert_eq!(open_below(&home), before);
    });
}

#[test]
fn case_18_files_are_streamed_the_same_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["--skip", "case_18"]);
}
