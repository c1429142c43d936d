//! What a failed attach leaves behind: nothing of its own, and everything of others.

use super::{bind, create, ensure_exists, existing, named};
use crate::support::home::{Home, name};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::mount::validate_and_order;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs::{self, File};
use std::path::Path;

/// The number of attachments and leases that the catalog holds.
fn recorded(home: &Home) -> (i64, i64) {
    let catalog = rusqlite::Connection::open(home.path("db/volumes.db")).unwrap();
    let sql = "SELECT (SELECT count(*) FROM attachment), (SELECT count(*) FROM lease)";
    catalog.query_row(sql, (), |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn a_failed_attach_removes_exactly_the_volumes_that_it_created() {
    let home = Home::new();
    for volume in ["kept", "ensured"] {
        fs::write(home.create(volume).join("file"), volume).unwrap();
    }
    let missing = bind(Path::new("/nowhere/at-all"));
    let mounts = [
        existing("kept"),
        create("created"),
        ensure_exists("made"),
        ensure_exists("ensured"),
        ensure_exists("made"),
        missing,
        create("never"),
    ];
    assert_eq!(home.attach("worker", &mounts).unwrap_err().code(), "ENOENT");
    assert_eq!(home.volumes(), ["ensured", "kept"]);
    for volume in ["kept", "ensured"] {
        assert_eq!(fs::read_to_string(home.path("volumes").join(volume).join("file")).unwrap(), volume);
    }
    for below in ["volumes/.staging", "volumes/.trash"] {
        assert_eq!(fs::read_dir(home.path(below)).unwrap().count(), 0, "{below}");
    }
    assert_eq!(recorded(&home), (0, 0));
    home.attach("worker", &mounts[..5]).unwrap();
    assert_eq!(recorded(&home), (1, 5));
}

#[test]
fn every_failure_undoes_what_came_before_it() {
    let home = Home::new();
    home.create("taken");
    let cases = [
        (existing("missing"), ErrorKind::VolumeNotFound),
        (create("taken"), ErrorKind::VolumeAlreadyExists),
        (named("taken", json!({ "mode": "ensure-exists", "quotaMib": 1 })), ErrorKind::VolumeIncompatible),
        (bind(&home.path("volumes")), ErrorKind::InvalidConfig),
        (bind(Path::new("/nowhere")), ErrorKind::FileSystem),
    ];
    for (failing, kind) in cases {
        let error = home.attach("worker", &[create("created"), failing]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert_eq!(home.volumes(), ["taken"]);
    }
    assert_eq!(recorded(&home), (0, 0));
}

#[test]
fn a_cancelled_attach_leaves_nothing() {
    let home = Home::new();
    let cancel = CancelToken::default();
    cancel.cancel();
    let mounts = validate_and_order(vec![("/data".to_owned(), create("data"))]).unwrap();
    let error = home.store.attach("worker", &mounts, None, &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert_eq!(home.volumes(), [""; 0]);
    assert_eq!(recorded(&home), (0, 0));
}

#[test]
fn an_attach_cancelled_at_any_moment_is_whole_or_leaves_nothing() {
    let home = Home::new();
    for round in 0..100u32 {
        let cancel = CancelToken::default();
        let canceller = cancel.clone();
        let thread = std::thread::spawn(move || {
            (0..round * 4000).for_each(|_| std::hint::spin_loop());
            canceller.cancel()
        });
        let mounts = ["/a", "/b"].map(|at| (at.to_owned(), create(&at[1..])));
        let attached =
            home.store.attach("worker", &validate_and_order(mounts.into()).unwrap(), None, &cancel);
        let accepted = thread.join().unwrap();
        match attached {
            Ok(attached) => {
                assert!(!accepted, "a cancellation was accepted and did nothing");
                assert_eq!((home.volumes().len(), recorded(&home)), (2, (1, 2)));
                home.store.detach(attached.id).unwrap();
                for volume in ["a", "b"] {
                    home.store.remove(&name(volume), &CancelToken::default()).unwrap();
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Aborted);
                assert_eq!((home.volumes().len(), recorded(&home)), (0, (0, 0)));
            }
        }
    }
}

#[test]
fn an_ensured_volume_that_somebody_removes_before_it_is_held_is_made_again() {
    let home = Home::new();
    // Held until the first volume is gone, this keeps the attach from getting past its second one.
    let lock = File::create(home.path("volumes/.locks/second.lock")).unwrap();
    lock.lock().unwrap();
    std::thread::scope(|threads| {
        let attaching =
            threads.spawn(|| home.attach("worker", &[ensure_exists("first"), create("second")]).unwrap());
        while home.volumes() != ["first"] {
            std::thread::yield_now();
        }
        home.store.remove(&name("first"), &CancelToken::default()).unwrap();
        lock.unlock().unwrap();
        attaching.join().unwrap();
    });
    assert_eq!(home.volumes(), ["first", "second"]);
    assert_eq!(recorded(&home), (1, 2));
    for volume in ["first", "second"] {
        assert!(home.path("volumes").join(volume).is_dir(), "{volume}");
    }
}

#[test]
fn a_volume_that_was_to_be_there_already_is_not_made_when_somebody_removes_it() {
    let home = Home::new();
    home.create("first");
    let lock = File::create(home.path("volumes/.locks/third.lock")).unwrap();
    lock.lock().unwrap();
    let mounts = [existing("first"), create("second"), create("third")];
    std::thread::scope(|threads| {
        let attaching = threads.spawn(|| home.attach("worker", &mounts));
        while home.volumes() != ["first", "second"] {
            std::thread::yield_now();
        }
        home.store.remove(&name("first"), &CancelToken::default()).unwrap();
        lock.unlock().unwrap();
        let error = attaching.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VolumeNotFound);
        assert_eq!(error.context().volume.as_deref(), Some("first"));
    });
    assert_eq!(home.volumes(), [""; 0]);
}
