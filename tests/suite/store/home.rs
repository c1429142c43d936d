//! The home directory: what is made there, and what the store does after another process changed it.

use crate::support::home::{Home, name};
use crate::support::immutable::Immutable;
use rusqlite::Connection;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::{Labels, OptionValue, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

fn listed(home: &Home) -> Vec<String> {
    let volumes = home.store.list(&Labels::default(), &CancelToken::default()).unwrap();
    volumes.into_iter().map(|volume| volume.record.name.to_string()).collect()
}

fn catalog(home: &Home) -> Connection {
    Connection::open(home.path("db/volumes.db")).unwrap()
}

#[test]
fn a_home_is_made_with_all_that_is_missing_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("a/b/c");
    Store::open(&home, Durability::Full).unwrap();
    for made in ["a", "a/b", "a/b/c", "a/b/c/volumes", "a/b/c/db"] {
        assert_eq!(
            fs::metadata(dir.path().join(made)).unwrap().permissions().mode() & 0o777,
            0o700,
            "{made}"
        );
    }
}

#[test]
fn a_home_behind_a_link_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    symlink(dir.path().join("real"), dir.path().join("link")).unwrap();
    Store::open(&dir.path().join("link"), Durability::Full).unwrap();
    assert!(dir.path().join("real/db/volumes.db").is_file());
}

#[test]
fn a_file_in_place_of_the_home_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("home"), "x").unwrap();
    let error = Store::open(&dir.path().join("home"), Durability::Full).unwrap_err();
    assert_eq!(error.code(), "ENOTDIR", "{error}");
}

#[test]
fn a_store_whose_home_was_deleted_goes_on_in_a_fresh_one() {
    let home = Home::new();
    home.create("old");
    fs::remove_dir_all(home.path("")).unwrap();
    assert_eq!(listed(&home), [""; 0]);
    home.create("new");
    fs::remove_dir_all(home.path("")).unwrap();
    home.create("newer");
    assert_eq!(listed(&home), ["newer"]);
}

#[test]
fn a_store_whose_home_was_replaced_goes_on_in_the_new_one() {
    let (home, other) = (Home::new(), Home::new());
    home.create("here");
    other.create("there");
    fs::remove_dir_all(home.path("")).unwrap();
    fs::rename(other.path(""), home.path("")).unwrap();
    assert_eq!(listed(&home), ["there"]);
    assert_eq!(listed(&other), [""; 0]);
}

#[test]
fn a_store_whose_volumes_directory_was_deleted_goes_on_in_a_fresh_one() {
    let home = Home::new();
    home.create("old");
    fs::remove_dir_all(home.path("volumes")).unwrap();
    home.create("new");
    assert!(home.path("volumes/new").is_dir());
    home.store.remove(&name("old"), &CancelToken::default()).unwrap();
    assert_eq!(listed(&home), ["new"]);
}

#[test]
fn a_store_whose_own_directories_were_deleted_makes_them_anew() {
    for deleted in [".ids", ".staging", ".trash", ".locks"] {
        let home = Home::new();
        home.create("old");
        fs::remove_dir_all(home.path("volumes").join(deleted)).unwrap();
        home.create("new");
        home.store.remove(&name("old"), &CancelToken::default()).unwrap();
        assert_eq!(listed(&home), ["new"], "{deleted}");
        assert!(home.path("volumes/.ids/new").is_file(), "{deleted}");
    }
}

/// A home whose catalog is one that an earlier version wrote: `limited` with a quota and labels, `plain`, and
/// attachments of `plain` from another boot.
fn home_of_version(version: u32) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    for dir in ["db", "volumes", "volumes/limited", "volumes/plain"] {
        fs::create_dir(home.path().join(dir)).unwrap();
    }
    let catalog = format!("{}/tests/catalogs/version-{version}.db", env!("CARGO_MANIFEST_DIR"));
    fs::copy(catalog, home.path().join("db/volumes.db")).unwrap();
    home
}

#[test]
fn a_catalog_of_version_1_is_brought_up_to_date_with_all_that_it_holds() {
    let home = home_of_version(1);
    let store = Store::open(home.path(), Durability::Full).unwrap();
    let volumes = store.list(&Labels::default(), &CancelToken::default()).unwrap();
    let [plain, limited] = &volumes[..] else { panic!("{volumes:?}") };
    assert_eq!((plain.record.name.as_str(), plain.record.storage.quota_mib()), ("plain", None));
    assert_eq!((limited.record.name.as_str(), limited.record.storage.quota_mib()), ("limited", Some(64)));
    assert_eq!(limited.record.labels.iter().collect::<Vec<_>>(), [("a b", "ü"), ("env", "prod")]);
    assert!(volumes.iter().all(|volume| volume.record.created_at_ms.is_some()));
    // The attachment's boot is over, and what the new version brought works.
    store.remove(&name("plain"), &CancelToken::default()).unwrap();
    let options = [serde_json::json!({ "kind": "disk", "sizeMib": 8 }).into()];
    let disk = VolumeSpec::from_options(&options).unwrap();
    store.create(&name("disk"), &disk, &CancelToken::default()).unwrap();
    let mount = MountConfig::named(&OptionValue::Text("disk".to_owned()), &OptionValue::Absent).unwrap();
    let mounts = validate_and_order(vec![("/disk".to_owned(), mount)]).unwrap();
    store.attach("worker", &mounts, None, &CancelToken::default()).unwrap();
    store.attach("other", &mounts, None, &CancelToken::default()).unwrap_err();
}

/// Where `writer` and `reader` have `plain`, and `reader` has the disk volume `disk` and an image of the host too.
#[test]
fn a_catalog_of_version_2_keeps_its_attachments() {
    let home = home_of_version(2);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let catalog = Connection::open(home.path().join("db/volumes.db")).unwrap();
    let changed = "UPDATE attachment SET boot_id = ?1 WHERE sandbox = 'reader'";
    catalog.execute(changed, [boot.trim()]).unwrap();
    let store = Store::open(home.path(), Durability::Full).unwrap();
    let attachments = store.attachments(None, None, &CancelToken::default()).unwrap();
    let [reader] = &attachments[..] else { panic!("{attachments:?}") };
    assert!(!reader.running, "it is of another name space");
    assert_eq!(reader.record.sandbox, "reader");
    let held: Vec<_> = reader.record.volumes.iter().map(|it| (it.name.as_str(), it.readonly)).collect();
    assert_eq!(held, [("plain", true), ("disk", false)]);
    assert!(reader.record.volumes.iter().all(|it| it.guest_path.is_none() && it.subpath.is_none()));
    assert!(reader.record.images.is_empty(), "that version did not write down which image");
    let refused = store.remove(&name("plain"), &CancelToken::default()).unwrap_err();
    assert_eq!(refused.context().sandboxes, ["reader"]);
    store.end_attachment(reader.record.id, false, &CancelToken::default()).unwrap();
    store.remove(&name("plain"), &CancelToken::default()).unwrap();
}

#[test]
fn a_newer_catalog_is_refused_and_not_touched() {
    let home = Home::new();
    home.create("data");
    // Left open, the connections keep the newest changes in the log: neither file may change.
    let newer = catalog(&home);
    newer.pragma_update(None, "user_version", 1_000_000).unwrap();
    let read = |file: &str| fs::read(home.path("db").join(file)).unwrap();
    let files = || (read("volumes.db"), read("volumes.db-wal"));
    let before = files();
    let error = Store::open(&home.path(""), Durability::Full).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Catalog);
    assert!(error.to_string().contains("schema version 1000000"), "{error}");
    assert!(error.to_string().contains("update sandbox-volumes"), "{error}");
    assert!(before == files());
}

#[test]
fn a_newer_catalog_that_a_crash_left_with_its_log_is_not_touched() {
    let home = Home::new();
    home.create("data");
    catalog(&home).pragma_update(None, "user_version", 1_000_000).unwrap();
    let crashed = tempfile::tempdir().unwrap();
    fs::create_dir(crashed.path().join("db")).unwrap();
    for file in ["volumes.db", "volumes.db-wal"] {
        fs::copy(home.path("db").join(file), crashed.path().join("db").join(file)).unwrap();
    }
    let read = |file: &str| fs::read(crashed.path().join("db").join(file)).unwrap();
    let files = || (read("volumes.db"), read("volumes.db-wal"));
    let before = files();
    assert_eq!(Store::open(crashed.path(), Durability::Full).unwrap_err().kind(), ErrorKind::Catalog);
    assert!(before == files());
}

#[test]
fn a_volume_whose_directory_was_deleted_is_visible_and_removable() {
    let home = Home::new();
    fs::remove_dir(home.create("data")).unwrap();
    let info = home.store.get(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(info.used_bytes, 0);
    assert_eq!(listed(&home), ["data"]);
    home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    assert_eq!(listed(&home), [""; 0]);
    home.create("data");
}

#[test]
fn a_volume_replaced_by_a_link_gives_no_way_out() {
    let home = Home::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "theirs").unwrap();
    let path = home.create("data");
    let files = home.store.files(&name("data"));
    fs::remove_dir(&path).unwrap();
    symlink(outside.path(), &path).unwrap();

    let cancel = CancelToken::default;
    for result in [
        files.open("file").map(drop),
        files.write("file", b"ours", Default::default(), &cancel()),
        files.mkdir("dir", &cancel()),
        files.remove("file", &cancel()),
        files.remove_all("file", &cancel()),
        files.exists("file").map(drop),
    ] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::FileSystem);
    }
    assert_eq!(home.store.get(&name("data"), &cancel()).unwrap().used_bytes, 0);
    home.store.remove(&name("data"), &cancel()).unwrap();
    assert!(fs::symlink_metadata(&path).is_err(), "the link stayed");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(outside.path().join("file")).unwrap(), "theirs");
}

#[test]
fn a_row_that_names_no_volume_is_skipped_and_hides_no_other() {
    let home = Home::new();
    home.create("good");
    fs::write(home.path("victim"), "theirs").unwrap();
    let add = |name: &str, kind: &str, labels: &str| {
        let sql = format!("INSERT INTO volume (name, kind, labels) VALUES ({name}, {kind}, {labels})");
        catalog(&home).execute_batch(&sql).unwrap();
    };
    add("'../../victim'", "'dir'", "'{}'");
    add("'badkind'", "'tape'", "'{}'");
    add("'badlabels'", "'dir'", "'not JSON'");
    add("CAST(x'ff' AS TEXT)", "'dir'", "'{}'");
    add("'badtext'", "'dir'", "CAST(x'ff' AS TEXT)");
    assert_eq!(listed(&home), ["good"]);
    let reopened = Store::open(&home.path(""), Durability::Full).unwrap();
    assert_eq!(reopened.list(&Labels::default(), &CancelToken::default()).unwrap().len(), 1);
    assert_eq!(fs::read_to_string(home.path("victim")).unwrap(), "theirs");
}

#[test]
fn case_28_of_an_atomic_write_that_died_only_the_recorded_file_is_removed() {
    let home = Home::new();
    home.create("one");
    home.create("two");
    fs::write(home.path("volumes/one/.1-2-3"), "on its way").unwrap();
    fs::write(home.path("volumes/two/.1-2-3"), "a guest's").unwrap();
    let inode = fs::metadata(home.path("volumes/one/.1-2-3")).unwrap().ino();
    fs::write(home.path("volumes/one/.4-5-6"), "a guest's").unwrap();
    symlink(home.path("volumes/two/.1-2-3"), home.path("volumes/one/.7-8-9")).unwrap();
    for record in [format!("1-2-3.{inode:x}"), format!("4-5-6.{inode:x}"), format!("7-8-9.{inode:x}")] {
        fs::write(home.path("volumes/.staging").join(record), "the original").unwrap();
    }
    Store::open(&home.path(""), Durability::Full).unwrap();
    assert!(!home.path("volumes/one/.1-2-3").exists());
    for kept in ["two/.1-2-3", "one/.4-5-6", "one/.7-8-9"] {
        assert_eq!(fs::read_to_string(home.path("volumes").join(kept)).unwrap(), "a guest's", "{kept}");
    }
    assert_eq!(fs::read_dir(home.path("volumes/.staging")).unwrap().count(), 0);
}

#[test]
fn case_28_a_volume_that_cannot_be_looked_at_keeps_the_record_and_no_other_volume_waits_for_it() {
    let home = Home::new();
    // Whatever the order, one comes after the one that fails.
    for volume in ["one", "two", "three"] {
        home.create(volume);
    }
    let passing = |volume: &str| home.path("volumes").join(volume).join(".1-2-3");
    fs::write(passing("one"), "on its way").unwrap();
    for volume in ["two", "three"] {
        fs::hard_link(passing("one"), passing(volume)).unwrap();
    }
    let inode = fs::metadata(passing("one")).unwrap().ino();
    let record = home.path("volumes/.staging").join(format!("1-2-3.{inode:x}"));
    fs::write(&record, "the original").unwrap();
    let reopen = || drop(Store::open(&home.path(""), Durability::Full).unwrap());
    let Some(immutable) = Immutable::new(&home.path("volumes/two")) else { return };
    reopen();
    let left = ["one", "two", "three"].map(|volume| passing(volume).exists());
    drop(immutable);
    assert_eq!(left, [false, true, false]);
    assert!(record.exists());

    fs::rename(home.path("volumes/two"), home.path("away")).unwrap();
    fs::write(home.path("volumes/two"), "no directory").unwrap();
    reopen();
    assert!(record.exists());
    fs::remove_file(home.path("volumes/two")).unwrap();
    fs::rename(home.path("away"), home.path("volumes/two")).unwrap();
    fs::rename(home.path("volumes/one"), home.path("away")).unwrap();
    reopen();
    assert!(!passing("two").exists() && !record.exists());
}
