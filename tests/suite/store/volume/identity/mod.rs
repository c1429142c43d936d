//! An id identifies a volume, also among earlier and later ones of its name.

mod earlier_catalogs;

use crate::support::home::{Home, name};
use crate::support::methods::{OperandPaths, beside, call_between};
use rusqlite::Connection;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Labels, OptionValue, VolumeId, VolumeRef, VolumeSpec};
use sandbox_volumes::mount::{GuestPath, MountConfig, validate_and_order};
use sandbox_volumes::store::{Durability, Store, VolumeFs, check};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::wire::MountConfigJson;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Every method that works on an existing file.
const METHODS: [&str; 28] = [
    "read",
    "readString",
    "write",
    "writeAtomic",
    "writeDurable",
    "readStream",
    "writeStream",
    "writeStreamAtomic",
    "writeStreamAppend",
    "writeStreamAt",
    "append",
    "copyFrom",
    "copyTo",
    "copyTreeTo",
    "copyIn",
    "copyTreeIn",
    "copyOut",
    "mkdir",
    "remove",
    "removeAll",
    "exists",
    "list",
    "listAll",
    "listStream",
    "stat",
    "statLink",
    "renameFrom",
    "renameTo",
];

fn spec(options: serde_json::Value) -> VolumeSpec {
    VolumeSpec::from_options(&[options.into()]).unwrap()
}

fn plain() -> VolumeSpec {
    spec(serde_json::json!({}))
}

fn id_of(store: &Store, volume: &str) -> VolumeId {
    store.get(&name(volume), &CancelToken::default()).unwrap().record.identity
}

fn ids(store: &Store) -> BTreeMap<String, VolumeId> {
    let volumes = store.list(&Labels::default(), &CancelToken::default()).unwrap();
    volumes.into_iter().map(|volume| (volume.record.name.to_string(), volume.record.identity)).collect()
}

/// The ids in the files beside the volumes.
fn stored_ids(home: &Path) -> BTreeMap<String, VolumeId> {
    let files = fs::read_dir(home.join("volumes/.ids")).unwrap().map(Result::unwrap);
    let read = files.map(|file| {
        let id = VolumeId::parse(fs::read_to_string(file.path()).unwrap().trim_end()).unwrap();
        (file.file_name().into_string().unwrap(), id)
    });
    read.collect()
}

fn files_of(store: &Arc<Store>, volume: &str) -> VolumeFs {
    store.files(VolumeRef::exactly(&name(volume), id_of(store, volume)))
}

fn assert_not_found<T>(result: Result<T, Error>, what: &str) {
    assert_eq!(result.err().map(|error| error.kind()), Some(ErrorKind::VolumeNotFound), "{what}");
}

/// What is below a directory, with contents.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        found.push((entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap_or_default()));
    }
    found.sort();
    found
}

/// Puts into a volume what every method finds.
fn furnish(root: &Path) {
    for file in ["f", "victim"] {
        fs::write(root.join(file), "next tenant").unwrap();
    }
    fs::create_dir(root.join("t")).unwrap();
}

#[test]
fn no_method_of_the_files_of_a_removed_volume_reaches_the_next_one_of_its_name() {
    for options in [serde_json::json!({}), serde_json::json!({ "quotaMib": 8 })] {
        let home = Home::new();
        // Another store of the home has connections and held roots of its own, as another process has.
        let other = Store::open(&home.path(""), Durability::Fast).unwrap();
        home.store.create(&name("data"), &spec(options.clone()), &CancelToken::default()).unwrap();
        let root = home.path("volumes/data");
        furnish(&root);
        let (warm, cold) = (files_of(&home.store, "data"), files_of(&home.store, "data"));
        assert!(warm.exists("victim").unwrap());
        let reader = warm.open_reader("victim", Default::default()).unwrap();
        for remaker in [&*home.store, &other] {
            remaker.remove(&name("data"), &CancelToken::default()).unwrap();
            remaker.create(&name("data"), &spec(options.clone()), &CancelToken::default()).unwrap();
            furnish(&root);
            let before = tree(&root);
            for method in METHODS {
                for files in [&warm, &cold] {
                    let (operands, outside) = beside(&root);
                    fs::create_dir(outside.path().join(OperandPaths::SEED_TREE)).unwrap();
                    assert_not_found(call_between(files, method, OsStr::new("victim"), &operands), method);
                }
                // What has the new one's id, or its name alone, works, and the held root becomes that one's.
                assert!(files_of(&home.store, "data").exists("victim").unwrap());
                assert!(home.store.files(&name("data")).exists("victim").unwrap());
            }
            assert_eq!(tree(&root), before);
        }
        let mut old = [0; 32];
        let read = reader.read_next(&mut old, &CancelToken::default()).unwrap_or(0);
        assert!(read <= "next tenant".len());
    }
}

#[test]
fn a_write_stream_of_a_removed_volume_writes_nothing_into_the_next_one() {
    for atomic in [false, true] {
        for options in [serde_json::json!({}), serde_json::json!({ "quotaMib": 8 })] {
            let home = Home::new();
            home.store.create(&name("data"), &spec(options.clone()), &CancelToken::default()).unwrap();
            let cancel = CancelToken::default();
            let write = sandbox_volumes::store::WriteOptions { atomic, ..Default::default() };
            let from = sandbox_volumes::store::WriteFrom::Empty;
            let mut writer = files_of(&home.store, "data").open_writer("f", write, from, &cancel).unwrap();
            writer.write(b"first tenant", &cancel).unwrap();
            home.store.remove(&name("data"), &cancel).unwrap();
            home.store.create(&name("data"), &spec(options), &cancel).unwrap();
            let finished = writer.write(b" more", &cancel).and_then(|()| writer.finish(&cancel));
            assert_not_found(finished, "finish");
            drop(writer);
            assert!(tree(&home.path("volumes/data")).is_empty());
            assert!(tree(&home.path("volumes/.staging")).is_empty());
        }
    }
}

#[test]
fn only_the_volume_with_the_id_is_removed_or_attached() {
    let home = Home::new();
    home.create("data");
    let first = id_of(&home.store, "data");
    let stale = VolumeRef::exactly(&name("data"), first);
    let mount = |id| -> Vec<(GuestPath, MountConfig)> {
        let config = MountConfig::named(&OptionValue::Text("data".to_owned()), &OptionValue::Absent).unwrap();
        let config = config.of_volume(id).unwrap();
        let plain = serde_json::to_value(MountConfigJson::from(&config)).unwrap();
        assert_eq!(MountConfig::from_input(&plain.into()).unwrap(), config);
        validate_and_order(vec![("/data".to_owned(), config)]).unwrap()
    };
    home.store.remove(&stale, &CancelToken::default()).unwrap();
    home.create("data");
    let second = id_of(&home.store, "data");
    assert_ne!(first, second);
    assert_not_found(home.store.remove(&stale, &CancelToken::default()), "remove");
    assert_not_found(home.store.attach("worker", &mount(first), None, &CancelToken::default()), "attach");
    assert_eq!(ids(&home.store), BTreeMap::from([("data".to_owned(), second)]));
    home.store.attach("worker", &mount(second), None, &CancelToken::default()).unwrap();
    let creating = MountConfig::named_with(
        &OptionValue::Text("data".to_owned()),
        &OptionValue::Absent,
        &serde_json::json!({ "mode": "ensure-exists" }).into(),
    );
    let error = creating.unwrap().of_volume(second).unwrap_err();
    assert_eq!(error.context().field.as_deref(), Some("volumeId"));
}

#[test]
fn a_stale_writer_that_races_with_removing_and_making_never_reaches_a_later_volume() {
    let home = Home::new();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (remaker, stop) = (Store::open(&home.path(""), Durability::Fast).unwrap(), &stop);
        remaker.create(&name("data"), &plain(), &CancelToken::default()).unwrap();
        let stale = files_of(&home.store, "data");
        let by_name = home.store.files(&name("data"));
        remaker.remove(&name("data"), &CancelToken::default()).unwrap();
        for _ in 0..2 {
            let (stale, by_name) = (stale.clone(), by_name.clone());
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert_not_found(
                        stale.write("f", b"stale", Default::default(), &CancelToken::default()),
                        "write",
                    );
                    assert_not_found(stale.exists("f"), "exists");
                    // Keeps the roots of the new ones held.
                    let _there_or_not = by_name.exists("f");
                }
            });
        }
        for _ in 0..150 {
            remaker.create(&name("data"), &plain(), &CancelToken::default()).unwrap();
            assert_eq!(tree(&home.path("volumes/data")), []);
            remaker.remove(&name("data"), &CancelToken::default()).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_id_survives_a_lost_and_a_damaged_catalog_and_goes_with_its_volume() {
    let home = Home::new();
    for volume in ["a", "b"] {
        home.create(volume);
    }
    home.store
        .create(
            &name("disk"),
            &spec(serde_json::json!({ "kind": "disk", "sizeMib": 8 })),
            &CancelToken::default(),
        )
        .unwrap();
    let before = ids(&home.store);
    assert_eq!(before.len(), 3);
    assert_eq!(stored_ids(&home.path("")), before);
    fs::remove_dir_all(home.path("db")).unwrap();
    let found = Store::open(&home.path(""), Durability::Full).unwrap();
    assert_eq!(ids(&found), before);
    drop(found);
    fs::write(home.path("db/volumes.db"), "no database").unwrap();
    for suffix in ["-wal", "-shm"] {
        let _not_there = fs::remove_file(home.path("db").join(format!("volumes.db{suffix}")));
    }
    let problems = check(&home.path(""), true, &CancelToken::default()).unwrap();
    assert!(problems.iter().all(|problem| problem.repaired), "{problems:?}");
    let found = Store::open(&home.path(""), Durability::Full).unwrap();
    assert_eq!(ids(&found), before);
    for volume in before.keys() {
        found.remove(&name(volume), &CancelToken::default()).unwrap();
    }
    assert_eq!(stored_ids(&home.path("")), BTreeMap::new());
}

#[test]
fn a_directory_that_was_copied_by_hand_or_has_no_id_gets_one_of_its_own() {
    let home = Home::new();
    home.create("data");
    let id = id_of(&home.store, "data");
    for copy in ["copy", "bare", "torn"] {
        fs::create_dir(home.path("volumes").join(copy)).unwrap();
    }
    fs::copy(home.path("volumes/.ids/data"), home.path("volumes/.ids/copy")).unwrap();
    fs::write(home.path("volumes/.ids/torn"), "0123").unwrap();
    let problems = check(&home.path(""), true, &CancelToken::default()).unwrap();
    assert_eq!(problems.len(), 3, "{problems:?}");
    let adopted = Store::open(&home.path(""), Durability::Full).unwrap();
    let adopted = ids(&adopted);
    assert_eq!(adopted["data"], id);
    let mut distinct: Vec<_> = adopted.values().collect();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 4, "{adopted:?}");
    assert_eq!(stored_ids(&home.path("")), adopted);
}

#[test]
fn a_directory_made_by_hand_after_its_volume_was_struck_out_gets_another_id() {
    let home = Home::new();
    home.store
        .create(&name("data"), &spec(serde_json::json!({ "quotaMib": 4 })), &CancelToken::default())
        .unwrap();
    let locks =
        ["data~quota.lock", "data~quota-next.lock"].map(|lock| home.path("volumes/.locks").join(lock));
    for lock in &locks {
        fs::write(lock, "").unwrap();
    }
    let id = id_of(&home.store, "data");
    fs::remove_dir(home.path("volumes/data")).unwrap();
    let mend = || {
        let problems = check(&home.path(""), true, &CancelToken::default()).unwrap();
        assert!(problems.len() == 1 && problems[0].repaired, "{problems:?}");
    };
    mend();
    assert_eq!(stored_ids(&home.path("")), BTreeMap::new());
    assert!(locks.iter().all(|lock| !lock.exists()));
    fs::create_dir(home.path("volumes/data")).unwrap();
    mend();
    assert_ne!(id_of(&home.store, "data"), id);
}

#[test]
fn ids_whose_files_were_deleted_are_written_again_by_a_store_that_is_open() {
    let home = Home::new();
    home.create("data");
    let before = ids(&home.store);
    fs::remove_dir_all(home.path("volumes/.ids")).unwrap();
    assert_eq!(ids(&home.store), before);
    assert_eq!(stored_ids(&home.path("")), before);
}

#[test]
fn a_removal_that_had_moved_nothing_is_finished_where_the_files_of_ids_were_deleted() {
    for others in [&[][..], &["other"]] {
        let home = Home::new();
        let root = home.create("data");
        others.iter().for_each(|other| drop(home.create(other)));
        fs::write(root.join("file"), "content").unwrap();
        let before = ids(&home.store);
        let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
        let intent = "INSERT INTO intent (volume_id, action, entry)
                      SELECT id, 'remove', 'data~1-2-3' FROM volume WHERE name = 'data'";
        assert_eq!(catalog.execute(intent, ()).unwrap(), 1);
        fs::remove_dir_all(home.path("volumes/.ids")).unwrap();
        let store = Store::open(&home.path(""), Durability::Full).unwrap();
        assert!(!root.exists(), "the directory of a volume without a row is left");
        assert_eq!(ids(&store).keys().collect::<Vec<_>>(), others);
        assert!(ids(&store).iter().all(|(volume, id)| before[volume] == *id));
        store.create(&name("data"), &plain(), &CancelToken::default()).unwrap();
    }
}

#[test]
fn a_creation_that_is_undone_leaves_no_id() {
    let home = Home::new();
    fs::create_dir(home.path("volumes/data")).unwrap();
    home.store.create(&name("data"), &plain(), &CancelToken::default()).unwrap_err();
    let cancel = CancelToken::default();
    cancel.cancel();
    home.store.create(&name("other"), &plain(), &cancel).unwrap_err();
    assert_eq!(stored_ids(&home.path("")), BTreeMap::new());
}
