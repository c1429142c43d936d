//! Homes on a read-only file system.

use super::{listed, make_home, name, open, spec};
use crate::support::mount_namespace::enter_namespace;
use crate::support::private::Private;
use nix::mount::{MsFlags, mount};
use rusqlite::Connection;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Labels, OptionValue, VolumeRef};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{ProblemKind, Store, TransferOptions, VolumeFs, WriteOptions, check};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn is_refused<T: Debug>(result: Result<T, Error>, what: &str) {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.code().as_str()), (ErrorKind::FileSystem, "EROFS"), "{what}: {error}");
}

/// Uses a home that cannot be written in every way that does not write, and tries those that do.
fn assert_readable(home: &Path) {
    let store = open(home);
    assert_eq!(listed(&store), ["data", "disk", "gone"]);
    let data = store.get(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(data.record.storage.quota_mib(), Some(4));
    assert_eq!(data.record.labels.iter().collect::<Vec<_>>(), [("env", "prod")]);
    let files = store.files(&name("data"));
    assert!(files.exists("a/b/file").unwrap());
    assert_eq!(files.stat("file", true).unwrap().size, 4);
    assert_eq!(files.open("file").unwrap().read(&CancelToken::default()).unwrap(), b"kept");
    let (reader, mut buffer) = (files.open_reader("a/file", Default::default()).unwrap(), [0; 16]);
    assert_eq!(reader.read_next(&mut buffer, &CancelToken::default()).unwrap(), 4);
    assert_eq!(store.attachments(None, None, &CancelToken::default()).unwrap().len(), 0);
    for repair in [false, true] {
        let problems = check(home, repair, &CancelToken::default()).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
    }
    let cancel = CancelToken::default();
    is_refused(store.create(&name("new"), &spec(json!({})), &cancel), "create");
    is_refused(store.remove(&name("data"), &cancel), "remove");
    for atomic in [false, true] {
        is_refused(
            files.write("file", b"x", WriteOptions { atomic, ..Default::default() }, &cancel),
            "write",
        );
    }
    is_refused(files.mkdir("new", &cancel), "mkdir");
    is_refused(files.remove("file", &cancel), "remove a file");
    is_refused(files.rename("file", "x", &cancel), "rename");
    let mount = MountConfig::named(&OptionValue::Text("data".to_owned()), &OptionValue::Absent).unwrap();
    let mounts = validate_and_order(vec![("/data".to_owned(), mount)]).unwrap();
    is_refused(store.attach("worker", &mounts, None, &cancel), "attach");
    assert_eq!(listed(&store), ["data", "disk", "gone"]);
}

/// Makes a read-only view of a directory.
fn read_only(dir: &Path) -> PathBuf {
    let view = dir.with_extension("view");
    fs::create_dir(&view).unwrap();
    let nothing: Option<&str> = None;
    mount(Some(dir), &view, nothing, MsFlags::MS_BIND, nothing).unwrap();
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(nothing, &view, nothing, flags, nothing).unwrap();
    view
}

#[test]
fn a_home_on_a_read_only_file_system_is_read_and_checked() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    for (at, left) in ["log and index", "log", "nothing"].into_iter().enumerate() {
        let home = private.path().join(format!("h{at}%? #"));
        make_home(&home);
        let database = |suffix: &str| home.join(format!("db/volumes.db{suffix}"));
        match left {
            "nothing" => {
                let catalog = Connection::open(database("")).unwrap();
                catalog.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
                drop(catalog);
                assert!(!database("-wal").exists() && !database("-shm").exists());
            }
            _ => {
                assert!(fs::metadata(database("-wal")).unwrap().len() > 0);
                if left == "log" {
                    fs::remove_file(database("-shm")).unwrap();
                }
            }
        }
        assert_readable(&read_only(&home));
    }
}

#[test]
fn a_read_only_view_of_a_home_shows_what_is_written_meanwhile() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let home = private.path().join("home");
    make_home(&home);
    let writer = open(&home);
    let view = read_only(&home);
    let store = open(&view);
    for round in 0..20 {
        let volume = format!("v{round}");
        writer.create(&name(&volume), &spec(json!({})), &CancelToken::default()).unwrap();
        assert!(listed(&store).contains(&volume));
        writer.remove(&name(&volume), &CancelToken::default()).unwrap();
        assert!(!listed(&store).contains(&volume));
    }
    drop(writer);
    assert_readable(&view);
}

/// Makes a directory that only its user may use.
fn make_private(dir: &Path) {
    fs::create_dir(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
}

/// Deletes what only this release makes.
fn forget_directories(home: &Path) {
    for dir in [".ids", ".staging", ".trash", ".locks"] {
        fs::remove_dir_all(home.join("volumes").join(dir)).unwrap();
    }
}

fn ids(home: &Path) -> Vec<String> {
    let volumes = open(home).list(&Labels::default(), &CancelToken::default()).unwrap();
    let mut ids: Vec<_> =
        volumes.iter().map(|volume| format!("{} {}", volume.record.name, volume.record.identity)).collect();
    ids.sort();
    ids.dedup();
    ids
}

#[test]
fn case_52_a_read_only_home_without_the_stores_own_directories_is_read_and_checked() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let home = private.path().join("home");
    make_home(&home);
    forget_directories(&home);
    assert_readable(&read_only(&home));
}

/// A home with two volumes and the catalog of an earlier version, and a connection of a program of that release.
fn earlier_home(parent: &Path, version: usize) -> (PathBuf, Connection) {
    let home = parent.join(format!("h{version}"));
    for dir in ["", "db", "volumes", "volumes/limited", "volumes/plain"] {
        make_private(&home.join(dir));
    }
    let catalog = home.join("db/volumes.db");
    let old = format!("{}/tests/catalogs/version-{version}.db", env!("CARGO_MANIFEST_DIR"));
    fs::copy(old, &catalog).unwrap();
    let earlier = Connection::open(&catalog).unwrap();
    earlier.pragma_update(None, "journal_mode", "wal").unwrap();
    earlier.execute_batch("DELETE FROM lease; DELETE FROM volume WHERE name = 'disk'").unwrap();
    (home, earlier)
}

#[test]
fn case_52_a_read_only_home_with_an_earlier_catalog_is_read_and_checked() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    for version in 1..=4 {
        let (home, _earlier) = earlier_home(private.path(), version);
        fs::write(home.join("volumes/limited/file"), "kept").unwrap();
        // There is a log, and for a part of the versions its index.
        if version % 2 == 0 {
            fs::remove_file(home.join("db/volumes.db-shm")).unwrap();
        }
        let view = read_only(&home);
        let store = open(&view);
        assert_eq!(listed(&store), ["limited", "plain"], "version {version}");
        assert!(
            store
                .get(&name("limited"), &CancelToken::default())
                .unwrap()
                .record
                .storage
                .quota_mib()
                .is_some()
        );
        let read = store.files(&name("limited")).open("file").unwrap().read(&CancelToken::default());
        assert_eq!(read.unwrap(), b"kept");
        assert_eq!((ids(&view).len(), ids(&view)), (2, ids(&view)), "an id lasts");
        for repair in [false, true] {
            assert!(check(&view, repair, &CancelToken::default()).unwrap().is_empty(), "version {version}");
        }
        is_refused(store.create(&name("new"), &spec(json!({})), &CancelToken::default()), "create");
        is_refused(store.remove(&name("plain"), &CancelToken::default()), "remove");
        let files = store.files(&name("limited"));
        is_refused(files.write("file", b"x", Default::default(), &CancelToken::default()), "write");
    }
}

/// The files of a volume by its name and its id.
fn files_of(store: &Arc<Store>, volume: &str) -> VolumeFs {
    let found = store.get(&name(volume), &CancelToken::default()).unwrap();
    store.files(VolumeRef::exactly(&name(volume), found.record.identity))
}

/// Puts another directory in place of a volume's.
fn replace_directory(home: &Path, volume: &str) {
    let root = home.join("volumes").join(volume);
    fs::rename(&root, home.join(format!("removed-{volume}"))).unwrap();
    make_private(&root);
    fs::write(root.join("file"), "next tenant").unwrap();
}

fn assert_replaced(store: &Arc<Store>, volume: &str, before: &VolumeFs) {
    assert_eq!(before.exists("file").unwrap_err().kind(), ErrorKind::VolumeNotFound);
    let read = files_of(store, volume).open("file").unwrap().read(&CancelToken::default());
    assert_eq!(read.unwrap(), b"next tenant");
}

#[test]
fn case_53_a_read_only_view_of_an_earlier_catalog_shows_no_next_volume_as_the_one_before() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    for version in 1..=4 {
        let (home, earlier) = earlier_home(private.path(), version);
        fs::write(home.join("volumes/plain/file"), "kept").unwrap();
        let store = open(&read_only(&home));
        let before = files_of(&store, "plain");
        assert!(before.exists("file").unwrap(), "version {version}");
        // What a program of that release does that removes the volume and makes it again.
        earlier.execute("DELETE FROM volume WHERE name = 'plain'", ()).unwrap();
        replace_directory(&home, "plain");
        earlier.execute("INSERT INTO volume (name, kind, labels) VALUES ('plain', 'dir', '{}')", ()).unwrap();
        assert_replaced(&store, "plain", &before);
        assert_eq!(listed(&store), ["limited", "plain"], "version {version}");
    }
}

#[test]
fn case_53_a_read_only_view_without_a_catalog_shows_no_next_volume_as_the_one_before() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    let home = private.path().join("home");
    for dir in ["", "volumes", "volumes/plain"] {
        make_private(&home.join(dir));
    }
    fs::write(home.join("volumes/plain/file"), "kept").unwrap();
    let store = open(&read_only(&home));
    let before = files_of(&store, "plain");
    assert!(before.exists("file").unwrap());
    replace_directory(&home, "plain");
    assert_replaced(&store, "plain", &before);
    make_private(&home.join("volumes/more"));
    assert_eq!(listed(&store), ["more", "plain"]);
}

#[test]
fn case_52_the_volumes_of_a_read_only_home_that_microsandbox_made_are_found() {
    if !enter_namespace() {
        return;
    }
    let Some(private) = Private::new() else { return };
    for has_databases in [false, true] {
        let home = private.path().join(format!("h{has_databases}"));
        make_home(&home);
        forget_directories(&home);
        fs::remove_dir_all(home.join("db")).unwrap();
        if has_databases {
            make_private(&home.join("db"));
        }
        let view = read_only(&home);
        let store = open(&view);
        assert_eq!(listed(&store), ["data", "disk", "gone"]);
        assert_eq!((ids(&view).len(), ids(&view)), (3, ids(&view)), "an id lasts");
        let files = store.files(&name("data"));
        assert_eq!(files.open("a/file").unwrap().read(&CancelToken::default()).unwrap(), b"kept");
        let problems = check(&view, true, &CancelToken::default()).unwrap();
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert_eq!((problem.kind, problem.repaired), (ProblemKind::CatalogMissing, false));
        let cancel = CancelToken::default();
        is_refused(store.create(&name("new"), &spec(json!({})), &cancel), "create");
        is_refused(store.remove(&name("data"), &cancel), "remove");
        is_refused(files.mkdir("new", &cancel), "mkdir");
        for atomic in [false, true] {
            let options = WriteOptions { atomic, ..Default::default() };
            is_refused(files.write("file", b"x", options, &cancel), "write");
        }
        let mount = MountConfig::named(&OptionValue::Text("data".to_owned()), &OptionValue::Absent).unwrap();
        let mounts = validate_and_order(vec![("/data".to_owned(), mount)]).unwrap();
        is_refused(store.attach("worker", &mounts, None, &cancel), "attach");
        let outside = private.path().join(format!("outside-{has_databases}"));
        make_private(&outside);
        files.copy_out("a", &outside.join("copy"), TransferOptions::default(), &cancel).unwrap();
        assert_eq!(fs::read(outside.join("copy/file")).unwrap(), b"kept");
        let source = OptionValue::Text(outside.to_str().unwrap().to_owned());
        let bind = MountConfig::bind(&source, &OptionValue::Absent, Path::new("/")).unwrap();
        let bind = validate_and_order(vec![("/data".to_owned(), bind)]).unwrap();
        is_refused(store.attach("worker", &bind, None, &cancel), "attach a bind");
    }
}
