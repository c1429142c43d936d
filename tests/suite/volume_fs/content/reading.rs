//! Reading files that are longer than memory, or that change while they are read.

use crate::support::child::in_child;
use crate::support::read_only::in_read_only_namespace;
use crate::support::volume::Volume;
use nix::sys::resource::{Resource, setrlimit};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File, OpenOptions};
use std::io::Read;

/// A file that was opened, still to be read.
type Opened = Box<dyn FnOnce() -> Result<Vec<u8>, String>>;

/// Files of the guest that have much more length than data are refused with `EFBIG`, where memory for them could
/// not be had.
fn check_large(volume: &Volume, read: impl Fn(&Volume) -> Result<Vec<u8>, String>) -> Result<(), String> {
    for gib in [3, 64, 4096] {
        sparse(volume, gib << 30);
        match read(volume) {
            Err(code) if code == "EFBIG" => {}
            result => return Err(format!("{gib} GiB: {:?}", result.map(|bytes| bytes.len()))),
        }
    }
    Ok(())
}

fn sparse(volume: &Volume, length: u64) {
    File::create(volume.files.root().join("f")).unwrap().set_len(length).unwrap();
}

fn string(volume: &Volume) -> Result<Vec<u8>, String> {
    let read = volume.files.open("f").unwrap().read_string(&CancelToken::default());
    read.map(String::into_bytes).map_err(|error| error.code())
}

#[test]
fn case_12_a_file_that_is_too_large_is_refused_before_memory_is_taken_for_it() {
    in_child(|| {
        let volume = Volume::new(json!({}));
        setrlimit(Resource::RLIMIT_AS, 1 << 30, 1 << 30).unwrap();
        check_large(&volume, |volume| volume.read("f")).unwrap();
        check_large(&volume, string).unwrap();
        sparse(&volume, 600 << 20);
        assert_eq!(string(&volume), Err("EFBIG".to_owned()), "longer than any string");
        sparse(&volume, 2 << 30);
        assert_eq!(volume.read("f"), Err("ENOMEM".to_owned()), "allowed, but there is no memory");
        sparse(&volume, 50 << 20);
        assert_eq!(volume.read("f").unwrap().len(), 50 << 20);
    });
}

#[test]
fn case_12_a_faulty_read_asks_for_as_much_memory_as_the_file_is_long() {
    in_read_only_namespace(|| {
        let volume = Volume::new(json!({}));
        setrlimit(Resource::RLIMIT_AS, 1 << 30, 1 << 30).unwrap();
        let faulty = |volume: &Volume| {
            let mut content = Vec::new();
            let length = fs::metadata(volume.files.root().join("f")).unwrap().len();
            content.try_reserve_exact(length as usize).map_err(|error| error.to_string())?;
            Ok(content)
        };
        let problem = check_large(&volume, faulty).unwrap_err();
        assert!(problem.contains("memory allocation failed"), "{problem}");
    });
}

/// A file that was cut off after it was opened gives what was left, and one that grew what was there.
fn check_changing(volume: &Volume, open: impl Fn(&Volume) -> Opened) -> Result<(), String> {
    let path = volume.files.root().join("f");
    for (before, after) in [(100_000, 60_000), (100_000, 1), (100_000, 0), (3, 100_000)] {
        fs::write(&path, vec![7; before]).unwrap();
        let opened = open(volume);
        OpenOptions::new().write(true).open(&path).unwrap().set_len(after).unwrap();
        match opened() {
            Ok(content) if content == vec![7; before.min(after as usize)] => {}
            result => {
                let length = result.map(|content| content.len());
                return Err(format!("of {before} bytes that became {after}: {length:?}"));
            }
        }
    }
    Ok(())
}

#[test]
fn case_13_a_file_that_changes_while_it_is_read_gives_what_was_there_and_is_left() {
    let volume = Volume::new(json!({}));
    let open = |volume: &Volume| -> Opened {
        let opened = volume.files.open("f").unwrap();
        Box::new(move || opened.read(&CancelToken::default()).map_err(|error| error.code()))
    };
    check_changing(&volume, open).unwrap();
}

#[test]
fn case_13_faulty_reads_follow_what_grows_or_fail_where_it_shrank() {
    in_read_only_namespace(|| {
        let volume = Volume::new(json!({}));
        let open = |volume: &Volume| File::open(volume.files.root().join("f")).unwrap();
        let to_the_end = |volume: &Volume| -> Opened {
            let mut file = open(volume);
            Box::new(move || {
                let mut content = Vec::new();
                file.read_to_end(&mut content).map_err(|error| error.to_string())?;
                Ok(content)
            })
        };
        let problem = check_changing(&volume, to_the_end).unwrap_err();
        assert_eq!(problem, "of 3 bytes that became 100000: Ok(100000)");
        let as_long_as_it_was = |volume: &Volume| -> Opened {
            let mut file = open(volume);
            let mut content = vec![0; file.metadata().unwrap().len() as usize];
            Box::new(move || {
                file.read_exact(&mut content).map_err(|error| error.to_string())?;
                Ok(content)
            })
        };
        let problem = check_changing(&volume, as_long_as_it_was).unwrap_err();
        assert!(problem.starts_with("of 100000 bytes that became 60000: Err"), "{problem}");
    });
}
