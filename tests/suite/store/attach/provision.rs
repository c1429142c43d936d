//! Named mounts: how each mode comes by its volume.

use super::{create, ensure_exists, existing, named};
use crate::support::home::{Home, name};
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::Labels;
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;

/// What differs, as field, wanted, actual.
fn differences(error: &Error) -> Vec<(&str, &str, &str)> {
    assert_eq!(error.kind(), ErrorKind::VolumeIncompatible, "{error}");
    let differences = error.context().differences.iter();
    differences.map(|it| (it.field, it.wanted.as_str(), it.actual.as_str())).collect()
}

#[test]
fn existing_needs_the_volume() {
    let home = Home::new();
    let error = home.attach("worker", &[existing("data")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeNotFound);
    assert_eq!(error.context().volume.as_deref(), Some("data"));
    assert_eq!(home.volumes(), [""; 0]);
    home.create("data");
    home.attach("worker", &[existing("data")]).unwrap();
}

#[test]
fn create_makes_the_volume_as_asked_and_needs_it_not_to_be_there() {
    let home = Home::new();
    let options = json!({ "mode": "create", "quotaMib": 7, "labels": { "env": "test" } });
    home.attach("worker", &[named("data", options.clone())]).unwrap();
    let record = home.store.get(&name("data"), &CancelToken::default()).unwrap().record;
    assert_eq!(record.storage.quota_mib(), Some(7));
    assert_eq!(record.labels, Labels::new([("env".to_owned(), "test".to_owned())].into()).unwrap());
    let again = home.attach("other", &[named("data", options)]).unwrap_err();
    assert_eq!(again.kind(), ErrorKind::VolumeAlreadyExists);
}

#[test]
fn ensure_exists_makes_the_volume_once_and_then_uses_it_unchanged() {
    let home = Home::new();
    home.attach("one", &[named("data", json!({ "mode": "ensure-exists", "labels": { "a": "1" } }))]).unwrap();
    let before = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    home.attach("two", &[named("data", json!({ "mode": "ensure-exists", "labels": { "a": "2" } }))]).unwrap();
    let after = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(before.record, after.record);
}

fn with_mode(options: &Value, mode: &str) -> Value {
    let mut options = options.clone();
    options["mode"] = mode.into();
    options
}

#[test]
fn ensure_exists_tells_exactly_the_fields_that_differ_and_changes_nothing() {
    let home = Home::new();
    home.attach("one", &[named("small", json!({ "mode": "create", "quotaMib": 4 }))]).unwrap();
    home.create("unlimited");
    let disk = json!({ "kind": "disk", "sizeMib": 8 });
    home.attach("one", &[named("disk", with_mode(&disk, "create"))]).unwrap();
    let qcow2 = json!({ "mode": "create", "kind": "disk", "sizeMib": 8, "format": "qcow2" });
    let made = home.attach("one", &[named("qcow2", qcow2)]).unwrap();
    home.store.detach(made.id).unwrap();
    // Without a requested format, any format will do.
    home.attach("one", &[named("qcow2", with_mode(&disk, "ensure-exists"))]).unwrap();
    let cases = [
        ("small", json!({ "mode": "ensure-exists", "quotaMib": 8 }), vec![("quotaMib", "8", "4")]),
        ("small", json!({ "mode": "ensure-exists" }), vec![("quotaMib", "unlimited", "4")]),
        (
            "unlimited",
            json!({ "mode": "ensure-exists", "quotaMib": 8 }),
            vec![("quotaMib", "8", "unlimited")],
        ),
        (
            "unlimited",
            json!({ "mode": "ensure-exists", "kind": "disk", "sizeMib": 16 }),
            vec![("kind", "disk", "dir"), ("sizeMib", "16", "none")],
        ),
        (
            "disk",
            json!({ "mode": "ensure-exists", "kind": "disk", "sizeMib": 16, "format": "qcow2" }),
            vec![("sizeMib", "16", "8"), ("format", "qcow2", "raw")],
        ),
        ("disk", json!({ "mode": "ensure-exists" }), vec![("kind", "dir", "disk"), ("sizeMib", "none", "8")]),
    ];
    for (volume, options, expected) in cases {
        let before = home.store.get(&name(volume), &CancelToken::default()).unwrap().record;
        let error = home.attach("two", &[named(volume, options)]).unwrap_err();
        assert_eq!(differences(&error), expected);
        assert_eq!(error.context().volume.as_deref(), Some(volume));
        assert_eq!(home.store.get(&name(volume), &CancelToken::default()).unwrap().record, before);
    }
    home.attach("two", &[named("small", json!({ "mode": "ensure-exists", "quotaMib": 4 }))]).unwrap();
    home.attach("two", &[named("unlimited", json!({ "mode": "ensure-exists", "quotaMib": 0 }))]).unwrap();
    let error = home.attach("two", &[named("disk", with_mode(&disk, "ensure-exists"))]).unwrap_err();
    assert_eq!(
        (error.kind(), &error.context().sandboxes[..]),
        (ErrorKind::VolumeInUse, &["one".to_owned()][..])
    );
}

#[test]
fn ensure_exists_tells_that_something_else_stands_there() {
    let home = Home::new();
    fs::create_dir(home.path("volumes/data")).unwrap();
    let error = home.attach("worker", &[ensure_exists("data")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeAlreadyExists);
    assert!(error.to_string().contains("the catalog does not list it"), "{error}");
}

#[test]
fn a_volume_can_be_mounted_twice_by_one_sandbox() {
    let home = Home::new();
    let attached = home.attach("worker", &[create("data"), existing("data"), ensure_exists("data")]).unwrap();
    assert_eq!(attached.mounts.len(), 3);
    let error = home.store.remove(&name("data"), &CancelToken::default()).unwrap_err();
    assert_eq!(error.context().sandboxes, ["worker"]);
    home.store.detach(attached.id).unwrap();
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
}

#[test]
fn a_volume_that_lost_its_directory_or_became_a_link_is_not_handed_to_a_sandbox() {
    let home = Home::new();
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir(home.create("lost")).unwrap();
    let linked = home.create("linked");
    fs::remove_dir(&linked).unwrap();
    symlink(outside.path(), &linked).unwrap();
    for volume in ["lost", "linked"] {
        for mount in [existing(volume), ensure_exists(volume)] {
            let error = home.attach("worker", &[mount]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FileSystem, "{error}");
            assert_eq!(error.context().volume.as_deref(), Some(volume));
        }
        home.store.remove(&name(volume), &CancelToken::default()).unwrap();
    }
}

#[test]
fn eight_threads_that_ensure_one_volume_all_get_it() {
    let home = Home::new();
    for round in 0..10 {
        let volume = format!("data{round}");
        std::thread::scope(|threads| {
            let attaching: Vec<_> = (0..8)
                .map(|at| {
                    let (home, volume) = (&home, &volume);
                    threads.spawn(move || home.attach(&format!("worker{at}"), &[ensure_exists(volume)]))
                })
                .collect();
            for attached in attaching {
                attached.join().unwrap().unwrap();
            }
        });
        assert_eq!(home.volumes().len(), round + 1);
    }
}
