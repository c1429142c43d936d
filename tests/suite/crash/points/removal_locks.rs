//! Locks of a removal, while its content is deleted and afterwards.

use super::next_call::MEETS;
use super::{ENTRY, is_empty, listed};
use crate::support::home::{Home, name};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::{VolumeRef, VolumeSpec};
use sandbox_volumes::store::{Durability, Store, WriteOptions, WriteRequest, check};
use sandbox_volumes::sync::CancelToken;
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

#[test]
fn a_removal_whose_owner_deletes_content_keeps_the_name_and_is_left_to_it() {
    let home = Home::new();
    let owner = home.lock("volumes/.locks/data~work.lock");
    home.leave_intent("remove", ENTRY);
    home.leave_directory("volumes/.trash/data~1a-2b-3c");
    let reopened = home.reopen();
    assert_eq!(listed(&home.store), [""; 0]);
    assert_eq!(
        home.store.get(&name("data"), &CancelToken::default()).unwrap_err().kind(),
        ErrorKind::VolumeNotFound
    );
    assert!(check(&home.path(""), true, &CancelToken::default()).unwrap().is_empty());
    let spec = VolumeSpec::from_options(&[]).unwrap();
    let error = reopened.create(&name("data"), &spec, &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeInUse);
    assert_eq!(
        (error.context().operation, error.context().volume.as_deref()),
        (Some("remove"), Some("data"))
    );
    assert!(home.holds("volumes/.trash/data~1a-2b-3c/dir/file"));
    assert_eq!(home.intents(), 1);
    // The owner dies.
    drop(owner);
    home.create("data");
    assert_eq!((home.intents(), home.ours_in_locks()), (0, Vec::new()));
    assert!(is_empty(&home.path("volumes/.trash")));
}

#[test]
fn a_removal_that_has_begun_holds_only_the_name_until_it_is_finished() {
    let home = Home::new();
    home.create("data");
    home.leave_directory("volumes/data");
    let cancel = CancelToken::default();
    let removal = home.store.begin_remove(&name("data"), &cancel).unwrap();
    cancel.cancel();
    assert_eq!(listed(&home.store), [""; 0]);
    assert!(!home.holds("volumes/data") && !is_empty(&home.path("volumes/.trash")));
    drop(home.lock("volumes/.locks/data.lock"));
    let spec = VolumeSpec::from_options(&[]).unwrap();
    let error = home.store.create(&name("data"), &spec, &CancelToken::default()).unwrap_err();
    assert_eq!(
        (error.kind(), error.context().operation, error.context().volume.as_deref()),
        (ErrorKind::VolumeInUse, Some("remove"), Some("data"))
    );
    assert_eq!((home.intents(), is_empty(&home.path("volumes/.trash"))), (1, false));
    removal.finish().unwrap();
    assert_eq!((home.intents(), home.ours_in_locks()), (0, Vec::new()));
    assert!(is_empty(&home.path("volumes/.trash")));
    home.create("data");
}

#[test]
fn a_removal_that_was_given_up_after_it_began_is_finished_by_whoever_meets_it() {
    for (about, meets) in MEETS {
        let home = Home::new();
        home.create("data");
        home.leave_directory("volumes/data");
        drop(home.store.begin_remove(&name("data"), &CancelToken::default()).unwrap());
        assert_eq!((home.intents(), is_empty(&home.path("volumes/.trash"))), (1, false), "{about}");
        assert!(!meets(&home), "{about}");
        assert_eq!((home.intents(), home.ours_in_locks()), (0, Vec::new()), "{about}");
        assert!(is_empty(&home.path("volumes/.trash")), "{about}");
    }
}

/// How many files a volume has whose removal is to be met in the middle, at first and at most.
const FILES: [usize; 4] = [2_000, 8_000, 32_000, 64_000];

#[test]
fn the_lock_of_a_name_is_free_while_the_content_of_its_volume_is_deleted() {
    let is_met = FILES.into_iter().any(|files| {
        let home = Home::new();
        let path = home.create("data");
        (0..files).for_each(|file| drop(File::create(path.join(file.to_string())).unwrap()));
        let trash = home.path("volumes/.trash");
        std::thread::scope(|scope| {
            let removal = scope.spawn(|| home.store.remove(&name("data"), &CancelToken::default()));
            while is_empty(&trash) && !removal.is_finished() {
                std::thread::yield_now();
            }
            let _lock = home.lock("volumes/.locks/data.lock");
            let is_met = !is_empty(&trash) && !removal.is_finished();
            // It ends while another process has the name's lock.
            removal.join().unwrap().unwrap();
            is_met
        })
    });
    assert!(is_met, "no removal was slow enough to be met, or the lock was held to its end");
}

#[test]
fn case_67_only_the_locks_of_names_are_left_of_volumes_that_were_removed() {
    // In memory, if the machine has such a file system: a disk takes a minute for its 8,000 fsyncs.
    let memory = Some(Path::new("/dev/shm")).filter(|memory| memory.is_dir());
    let home = memory.map_or_else(tempfile::tempdir, tempfile::tempdir_in).unwrap();
    let store = Arc::new(Store::open(home.path(), Durability::Fast).unwrap());
    let limited = VolumeSpec::from_options(&[serde_json::json!({ "quotaMib": 1 }).into()]).unwrap();
    let cancel = CancelToken::default;
    for number in 0..2_000 {
        let volume = name(&format!("v{number}"));
        store.create(&volume, &limited, &cancel()).unwrap();
        if number % 10 == 0 {
            store.files(&volume).write("f", b"x", Default::default(), &cancel()).unwrap();
            assert!(home.path().join(format!("volumes/.locks/{volume}~quota.lock")).exists());
        }
        store.remove(&volume, &cancel()).unwrap();
    }
    for empty in [".staging", ".trash", ".ids"] {
        assert!(is_empty(&home.path().join("volumes").join(empty)), "{empty}");
    }
    let locks: Vec<_> =
        fs::read_dir(home.path().join("volumes/.locks")).unwrap().map(Result::unwrap).collect();
    assert_eq!(locks.len(), 2_000);
    assert!(locks.iter().all(|lock| !lock.file_name().to_str().unwrap().contains('~')));
}

#[test]
fn a_writer_that_waited_on_the_lock_of_a_removed_volume_makes_no_new_one() {
    let home = Home::new();
    let limited = VolumeSpec::from_options(&[serde_json::json!({ "quotaMib": 1 }).into()]).unwrap();
    let (request, cancel) =
        (WriteRequest::whole("f", WriteOptions::default()).unwrap(), CancelToken::default);
    for (made_again, lock) in [(false, "quota"), (false, "quota-next"), (true, "quota"), (true, "quota-next")]
    {
        let id = home.store.create(&name("data"), &limited, &cancel()).unwrap().id;
        let files = home.store.files(VolumeRef::exactly(&name("data"), id));
        files.write("f", b"x", Default::default(), &cancel()).unwrap();
        let prepared = files.prepare_write().unwrap();
        std::thread::scope(|scope| {
            let writer = home.lock(&format!("volumes/.locks/data~{lock}.lock"));
            let waits = scope.spawn(|| prepared.write(&request, b"y", &cancel()));
            home.store.remove(&name("data"), &cancel()).unwrap();
            if made_again {
                home.store.create(&name("data"), &limited, &cancel()).unwrap();
            }
            drop(writer);
            assert_eq!(waits.join().unwrap().unwrap_err().kind(), ErrorKind::VolumeNotFound);
        });
        if made_again {
            assert!(is_empty(&home.path("volumes/data")));
            home.store.remove(&name("data"), &cancel()).unwrap();
        }
        assert_eq!(home.ours_in_locks(), [""; 0], "{made_again} {lock}");
    }
}
