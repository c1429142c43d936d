//! A file of the volume that has another name outside.

use super::faulty::{FaultyBackend, writes_in_place};
use crate::support::methods::Backend;
use crate::support::read_only::in_read_only_namespace;
use crate::support::volume::Volume;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// The methods that put a new file in place of the old one.
const REPLACING: [&str; 4] = ["writeAtomic", "writeStreamAtomic", "copyIn", "copyTo"];

/// Makes the hard link again and calls a method on it. Fails if the file outside changed.
fn check(volume: &Volume, backend: &dyn Backend, method: &str) -> Result<(), String> {
    let (inside, outside) = (volume.files.root().join("linked"), volume.outside.join("linked"));
    fs::write(volume.files.root().join("f"), "new").unwrap();
    for old in [&inside, &outside] {
        let _not_there = fs::remove_file(old);
    }
    fs::write(&outside, "old").unwrap();
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o640)).unwrap();
    fs::hard_link(&outside, &inside).unwrap();
    backend.call(method, OsStr::new("linked")).map_err(|refusal| refusal.code)?;
    let content = |path| fs::read_to_string(path).unwrap();
    match (content(&outside).as_str(), content(&inside).as_str()) {
        ("old", "new" | "file") if fs::metadata(&inside).unwrap().nlink() == 1 => Ok(()),
        found => Err(format!("{method}: outside and inside are {found:?}")),
    }
}

#[test]
fn case_9_what_replaces_a_hard_linked_file_leaves_the_one_outside_and_a_plain_write_changes_it() {
    let volume = Volume::new(json!({}));
    for method in REPLACING {
        check(&volume, &volume, method).unwrap();
    }
    check(&volume, &volume, "writeAtomic").unwrap();
    let mode = fs::metadata(volume.files.root().join("linked")).unwrap().mode();
    assert_eq!(mode & 0o7777, 0o640);
    for method in ["write", "writeStream", "append"] {
        check(&volume, &volume, method).unwrap_err();
    }
    let changed = fs::read_to_string(volume.outside.join("linked")).unwrap();
    volume.call("removeAll", OsStr::new("linked")).unwrap();
    assert_eq!(fs::read_to_string(volume.outside.join("linked")).unwrap(), changed);
}

#[test]
fn case_9_faulty_methods_that_write_in_place_change_the_file_outside() {
    in_read_only_namespace(|| {
        let volume = Volume::new(json!({}));
        let faulty = FaultyBackend::new(&volume, writes_in_place);
        for method in REPLACING {
            let problem = check(&volume, &faulty, method).unwrap_err();
            assert!(problem.contains("outside and inside are"), "{problem}");
        }
    });
}
