//! Files of a volume that was removed, and of one whose root was replaced by a link.

use super::call;
use super::faulty::{FaultyBackend, makes_what_is_missing};
use super::table::{strings, table};
use crate::faulty::{Check, FaultyVolume};
use crate::support::methods::Backend;
use crate::support::read_only::in_read_only_namespace;
use crate::support::snapshot::Snapshot;
use crate::support::volume::Volume;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::VolumeSpec;
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteOptions;
use serde_json::json;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn all_methods() -> Vec<String> {
    strings(&table()["methods"]["all"])
}

fn removed() -> Volume {
    let volume = Volume::new(json!({}));
    volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
    volume
}

/// A method finds no removed volume, and brings none back.
fn check_removed(volume: &Volume, backend: &dyn Backend, method: &str) -> Result<(), String> {
    for path in ["f", "", "a/b"] {
        let result = backend.call(method, OsStr::new(path)).map_err(|refusal| refusal.code);
        if volume.files.root().exists() {
            return Err(BACK.to_owned());
        }
        if result != Err("ERR_VOLUME_NOT_FOUND".to_owned()) {
            return Err(format!("{method}({path:?}): {result:?}"));
        }
    }
    Ok(())
}

const BACK: &str = "the volume's directory is back";

#[test]
fn case_20_a_removed_volume_is_not_found_and_no_method_brings_it_back() {
    let volume = removed();
    for method in all_methods() {
        check_removed(&volume, &volume, &method).unwrap();
    }
    let spec = VolumeSpec::from_options(&[json!({ "quotaMib": 1 }).into()]).unwrap();
    volume.store.create(&volume.name, &spec, &CancelToken::default()).unwrap();
    call(&volume.files, "write", "f").unwrap();
    let too_much = vec![1; 2 << 20];
    let refused = volume.files.write("f", &too_much, WriteOptions::default(), &CancelToken::default());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::QuotaExceeded, "the new volume's own rules");
}

#[test]
fn case_20_faulty_methods_bring_a_removed_volume_back_or_do_not_know_that_it_is_gone() {
    in_read_only_namespace(|| {
        for method in all_methods() {
            let volume = removed();
            check_removed(&volume, &FaultyVolume::in_volume(&volume, Check::Nothing), &method).unwrap_err();
            let faulty = FaultyBackend::new(&volume, makes_what_is_missing);
            assert_eq!(check_removed(&volume, &faulty, &method), Err(BACK.to_owned()), "{method}");
        }
    });
}

#[test]
fn case_20_no_write_brings_a_volume_back_that_is_removed_meanwhile() {
    let volume = Volume::new(json!({}));
    let done = AtomicBool::new(false);
    let spec = VolumeSpec::from_options(&[]).unwrap();
    thread::scope(|scope| {
        for method in ["write", "writeAtomic", "mkdir"] {
            let (volume, done) = (&volume, &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    if let Err(error) = call(&volume.files, method, "f") {
                        let allowed = ["ERR_VOLUME_NOT_FOUND", "ENOENT", "EISDIR", "EEXIST"];
                        assert!(allowed.contains(&error.code().as_str()), "{method}: {error}");
                    }
                }
            });
        }
        for _ in 0..100 {
            volume.store.remove(&volume.name, &CancelToken::default()).unwrap();
            assert!(!volume.files.root().exists());
            volume.store.create(&volume.name, &spec, &CancelToken::default()).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// A method fails in a volume whose root is a link by now, and does nothing where that leads.
fn check_replaced(backend: impl Fn(&Volume) -> Result<(), String>) -> Result<(), String> {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    fs::remove_dir(root).unwrap();
    fs::write(volume.outside.join("f"), "secret").unwrap();
    symlink(&volume.outside, root).unwrap();
    let before = Snapshot::of(&volume.outside);
    let result = backend(&volume);
    match (result, Snapshot::of(&volume.outside) == before) {
        (_, false) => Err("the outside changed".to_owned()),
        (Err(code), true) if ["ENOTDIR", "ELOOP"].contains(&code.as_str()) => Ok(()),
        (result, true) => Err(format!("{result:?}")),
    }
}

fn called(backend: &dyn Backend, method: &str) -> Result<(), String> {
    backend.call(method, OsStr::new("f")).map(drop).map_err(|refusal| refusal.code)
}

#[test]
fn case_21_a_root_that_was_replaced_by_a_link_is_an_error() {
    for method in all_methods() {
        check_replaced(|volume| called(volume, &method)).unwrap();
    }
}

#[test]
fn case_21_faulty_methods_follow_a_root_that_was_replaced_by_a_link() {
    in_read_only_namespace(|| {
        // Only a directory can be listed, wherever it is.
        for method in all_methods().into_iter().filter(|method| !method.starts_with("list")) {
            let faulty = |volume: &Volume| called(&FaultyVolume::in_volume(volume, Check::Target), &method);
            assert!(check_replaced(faulty).is_err(), "{method}");
        }
    });
}
