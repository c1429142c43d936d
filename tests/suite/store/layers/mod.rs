//! Homes that cannot be changed like any other: of a lower layer of an overlay, and on a read-only file system.

mod read_only;

use crate::support::mount_namespace::enter_namespace;
use crate::support::private::Private;
use crate::support::skip::skip;
use nix::mount::{MsFlags, mount};
use rusqlite::Connection;
use sandbox_volumes::model::{Labels, VolumeName, VolumeSpec};
use sandbox_volumes::store::{Durability, Store, WriteOptions, check};
use sandbox_volumes::sync::CancelToken;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn name(text: &str) -> VolumeName {
    VolumeName::parse(text).unwrap()
}

fn spec(options: Value) -> VolumeSpec {
    VolumeSpec::from_options(&[options.into()]).unwrap()
}

fn open(home: &Path) -> Arc<Store> {
    Arc::new(Store::open(home, Durability::Full).unwrap())
}

fn listed(store: &Store) -> Vec<String> {
    let volumes = store.list(&Labels::default(), &CancelToken::default()).unwrap();
    let mut names: Vec<_> = volumes.into_iter().map(|volume| volume.record.name.to_string()).collect();
    names.sort();
    names
}

/// A home with the volumes `data`, `disk` and `gone`.
fn make_home(home: &Path) {
    let store = open(home);
    for (volume, options) in [
        ("data", json!({ "quotaMib": 4, "labels": { "env": "prod" } })),
        ("disk", json!({ "kind": "disk", "sizeMib": 8 })),
        ("gone", json!({})),
    ] {
        store.create(&name(volume), &spec(options), &CancelToken::default()).unwrap();
    }
    for volume in ["data", "gone"] {
        let root = home.join("volumes").join(volume);
        fs::create_dir_all(root.join("a/b/c")).unwrap();
        for file in ["file", "a/file", "a/b/file", "a/b/c/file"] {
            fs::write(root.join(file), "kept").unwrap();
        }
    }
}

/// An overlay over a home that `change` changed before it became the lower layer.
fn overlaid(private: &Private, change: impl FnOnce(&Path)) -> Option<PathBuf> {
    let [lower, upper, work, merged] = ["lower", "upper", "work", "merged"].map(|name| {
        let dir = private.path().join(name);
        fs::create_dir(&dir).unwrap();
        dir
    });
    make_home(&lower.join("home"));
    change(&lower.join("home"));
    let layers =
        format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    match mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(layers.as_str())) {
        Ok(()) => Some(merged.join("home")),
        Err(errno) => {
            skip(format!("an overlay cannot be mounted: {errno}"));
            None
        }
    }
}

#[test]
fn volumes_of_a_lower_layer_can_be_removed_and_made_again() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let Some(home) = overlaid(&private, |_| {}) else { return };
    let store = open(&home);
    for volume in ["data", "disk", "gone"] {
        store.remove(&name(volume), &CancelToken::default()).unwrap();
        assert!(!home.join("volumes").join(volume).exists(), "{volume}");
        assert!(!listed(&store).contains(&volume.to_owned()));
        store.create(&name(volume), &spec(json!({})), &CancelToken::default()).unwrap();
        assert_eq!(fs::read_dir(home.join("volumes").join(volume)).unwrap().count(), 0, "{volume}");
        store.remove(&name(volume), &CancelToken::default()).unwrap();
    }
    for dir in ["volumes/.trash", "volumes/.staging"] {
        assert_eq!(fs::read_dir(home.join(dir)).unwrap().count(), 0, "{dir}");
    }
    assert!(check(&home, false, &CancelToken::default()).unwrap().is_empty());
}

#[test]
fn a_removal_in_a_lower_layer_that_was_interrupted_is_finished_by_the_next_open() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let interrupted = |home: &Path| {
        let catalog = Connection::open(home.join("db/volumes.db")).unwrap();
        let intend = "INSERT INTO intent (volume_id, action, entry)
            SELECT id, 'remove', 'gone~1-2-3' FROM volume WHERE name = 'gone'";
        catalog.execute(intend, ()).unwrap();
    };
    let Some(home) = overlaid(&private, interrupted) else { return };
    // What a removal in place had deleted.
    fs::remove_dir_all(home.join("volumes/gone/a/b")).unwrap();
    let store = open(&home);
    assert_eq!(listed(&store), ["data", "disk"]);
    assert!(!home.join("volumes/gone").exists());
    store.create(&name("gone"), &spec(json!({})), &CancelToken::default()).unwrap();
}

#[test]
fn a_removal_in_a_lower_layer_is_marked_before_content_is_deleted() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let Some(home) = overlaid(&private, |_| {}) else { return };
    let store = open(&home);
    drop(store.begin_remove(&name("gone"), &CancelToken::default()).unwrap());
    let catalog = Connection::open(home.join("db/volumes.db")).unwrap();
    let marks = || catalog.query_row("SELECT sum(in_place) FROM intent", (), |row| row.get(0));
    assert_eq!(marks(), Ok(Some(1)));
    assert!(home.join("volumes/gone/a/b/file").exists());
    assert_eq!(listed(&store), ["data", "disk"]);
    assert_eq!((marks(), home.join("volumes/gone").exists()), (Ok(None), false));
}

#[test]
fn an_entry_of_a_lower_layer_is_renamed_or_the_error_says_why_not() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let Some(home) = overlaid(&private, |_| {}) else { return };
    let files = open(&home).files(&name("data"));
    files.rename("file", "renamed", &CancelToken::default()).unwrap();
    files
        .write("a/file", b"new", WriteOptions { atomic: true, ..Default::default() }, &CancelToken::default())
        .unwrap();
    let root = home.join("volumes/data");
    assert_eq!(fs::read_to_string(root.join("renamed")).unwrap(), "kept");
    assert_eq!(fs::read_to_string(root.join("a/file")).unwrap(), "new");
    match files.rename("a", "z", &CancelToken::default()) {
        // With `redirect_dir=on` the kernel can.
        Ok(()) => assert_eq!(fs::read_to_string(root.join("z/b/file")).unwrap(), "kept"),
        Err(error) => {
            assert_eq!(error.code(), "EXDEV", "{error}");
            assert_eq!(fs::read_to_string(root.join("a/b/file")).unwrap(), "kept");
        }
    }
}
