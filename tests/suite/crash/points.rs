//! Forces every state that a crash can leave, and opens the home again.

use crate::support::home::{Home, name};
use rusqlite::Connection;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::{Labels, VolumeRef, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Durability, Store, WriteOptions, WriteRequest, check};
use sandbox_volumes::sync::CancelToken;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

/// An entry of the staging or trash directory, as the store names them.
const ENTRY: &str = "data~1a-2b-3c";
/// The temporary file of an atomic write, as the store names it.
const TEMPORARY: &str = "1a-2b-3c";

impl Home {
    /// Leaves a volume's row with an intent, as a process that died there would have.
    fn leave_intent(&self, action: &str, entry: &str) {
        let catalog = Connection::open(self.path("db/volumes.db")).unwrap();
        catalog
            .execute("INSERT OR IGNORE INTO volume (name, kind, labels) VALUES ('data', 'dir', '{}')", ())
            .unwrap();
        let sql = "INSERT INTO intent (volume_id, action, entry)
                   SELECT id, ?1, ?2 FROM volume WHERE name = 'data'";
        assert_eq!(catalog.execute(sql, (action, entry)).unwrap(), 1);
    }

    /// Leaves a directory with a file in it.
    fn leave_directory(&self, below: &str) {
        fs::create_dir_all(self.path(below).join("dir")).unwrap();
        fs::write(self.path(below).join("dir/file"), "content").unwrap();
    }

    fn leave_file(&self, below: &str) {
        fs::write(self.path(below), "half a fi").unwrap();
    }

    fn reopen(&self) -> Store {
        Store::open(&self.path(""), Durability::Full).unwrap()
    }

    fn holds(&self, below: &str) -> bool {
        fs::symlink_metadata(self.path(below)).is_ok()
    }

    /// What is in the directory of locks besides the locks of names.
    fn ours_in_locks(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("volumes/.locks")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains('~')).collect()
    }

    /// The volume is not there, nothing of it is left, and its name can be used.
    fn assert_absent(&self, store: &Store) {
        assert_eq!(listed(store), [""; 0]);
        assert_eq!(
            store.get(&name("data"), &CancelToken::default()).unwrap_err().kind(),
            ErrorKind::VolumeNotFound
        );
        for below in ["volumes/data", "volumes/.staging/data~1a-2b-3c", "volumes/.trash/data~1a-2b-3c"] {
            assert!(!self.holds(below), "{below} was left");
        }
        assert_eq!(self.intents(), 0);
        self.create("data");
    }

    /// The volume is there with its content, and nothing is pending.
    fn assert_whole(&self, store: &Store) {
        assert_eq!(listed(store), ["data"]);
        assert_eq!(fs::read_to_string(self.path("volumes/data/dir/file")).unwrap(), "content");
        assert_eq!(self.intents(), 0);
        store.remove(&name("data"), &CancelToken::default()).unwrap();
    }

    /// Holds a lock file or a temporary file as a living process would, until the result is dropped.
    fn lock(&self, below: &str) -> File {
        let file = File::options().write(true).create(true).truncate(false).open(self.path(below)).unwrap();
        file.lock().unwrap();
        file
    }
}

fn listed(store: &Store) -> Vec<String> {
    let volumes = store.list(&Labels::default(), &CancelToken::default()).unwrap();
    volumes.into_iter().map(|volume| volume.record.name.to_string()).collect()
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).unwrap().next().is_none()
}

#[test]
fn a_creation_that_made_nothing_yet_is_undone() {
    let home = Home::new();
    home.leave_intent("create", ENTRY);
    home.assert_absent(&home.reopen());
}

#[test]
fn a_creation_still_in_staging_is_undone() {
    let home = Home::new();
    home.leave_intent("create", ENTRY);
    home.leave_directory("volumes/.staging/data~1a-2b-3c");
    home.assert_absent(&home.reopen());
}

#[test]
fn a_creation_that_was_moved_into_place_is_completed() {
    let home = Home::new();
    home.leave_intent("create", ENTRY);
    home.leave_directory("volumes/data");
    home.assert_whole(&home.reopen());
}

#[test]
fn a_creation_in_staging_leaves_a_directory_of_somebody_else_alone() {
    let home = Home::new();
    home.leave_intent("create", ENTRY);
    home.leave_directory("volumes/.staging/data~1a-2b-3c");
    home.leave_directory("volumes/data");
    let store = home.reopen();
    assert_eq!(listed(&store), [""; 0]);
    assert!(!home.holds("volumes/.staging/data~1a-2b-3c"));
    assert_eq!(fs::read_to_string(home.path("volumes/data/dir/file")).unwrap(), "content");
}

#[test]
fn a_removal_that_moved_nothing_yet_is_finished() {
    let home = Home::new();
    home.leave_intent("remove", ENTRY);
    home.leave_directory("volumes/data");
    home.assert_absent(&home.reopen());
}

#[test]
fn a_removal_that_moved_the_volume_to_the_trash_is_finished() {
    let home = Home::new();
    home.leave_intent("remove", ENTRY);
    home.leave_directory("volumes/.trash/data~1a-2b-3c");
    home.assert_absent(&home.reopen());
}

#[test]
fn a_removal_that_deleted_the_files_is_finished() {
    let home = Home::new();
    home.leave_intent("remove", ENTRY);
    home.assert_absent(&home.reopen());
}

#[test]
fn a_removal_deletes_nothing_that_another_program_made_under_the_name_since() {
    let home = Home::new();
    fs::remove_dir(home.create("data")).unwrap();
    let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
    let intent = "INSERT INTO intent (volume_id, action, entry) SELECT id, 'remove', ?1 FROM volume";
    catalog.execute(intent, [ENTRY]).unwrap();
    fs::remove_file(home.path("volumes/.ids/data")).unwrap();
    home.leave_directory("volumes/data");
    assert_eq!(listed(&home.reopen()), [""; 0]);
    assert_eq!(home.intents(), 0);
    assert_eq!(fs::read_to_string(home.path("volumes/data/dir/file")).unwrap(), "content");
}

#[test]
fn a_volume_with_a_pending_intent_is_not_listed_by_a_store_that_is_open() {
    for action in ["create", "remove"] {
        let home = Home::new();
        let _owner_lives = home.lock("volumes/.locks/data.lock");
        home.leave_intent(action, ENTRY);
        home.leave_directory("volumes/data");
        assert_eq!(listed(&home.store), [""; 0], "{action}");
    }
}

#[test]
fn the_next_operation_on_a_name_settles_what_was_left_without_a_new_open() {
    let (undone, completed, finished) = (Home::new(), Home::new(), Home::new());
    undone.leave_intent("create", ENTRY);
    undone.leave_directory("volumes/.staging/data~1a-2b-3c");
    undone.create("data");
    assert!(!undone.holds("volumes/.staging/data~1a-2b-3c"));

    completed.leave_intent("create", ENTRY);
    completed.leave_directory("volumes/data");
    completed.store.remove(&name("data"), &CancelToken::default()).unwrap();
    completed.assert_absent(&completed.store);

    finished.leave_intent("remove", ENTRY);
    finished.leave_directory("volumes/.trash/data~1a-2b-3c");
    let error = finished.store.remove(&name("data"), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::VolumeNotFound);
    finished.assert_absent(&finished.store);
}

/// What a process leaves that dies there: the intent's action, the directory of the volume, and whether the volume is
/// there once that is settled.
const LEFT: [(&str, Option<&str>, bool); 6] = [
    ("create", None, false),
    ("create", Some("volumes/.staging/data~1a-2b-3c"), false),
    ("create", Some("volumes/data"), true),
    ("remove", Some("volumes/data"), false),
    ("remove", Some("volumes/.trash/data~1a-2b-3c"), false),
    ("remove", None, false),
];

/// An operation, which says whether it found the volume.
type Meets = fn(&Home) -> bool;

fn finds(result: Result<(), sandbox_volumes::error::Error>) -> bool {
    match result.map_err(|error| error.kind()) {
        Ok(()) | Err(ErrorKind::VolumeAlreadyExists) => true,
        Err(ErrorKind::VolumeNotFound) => false,
        Err(other) => panic!("{other:?}"),
    }
}

/// Every operation that may meet an intent. Those that make or remove the volume leave it as they found it.
const MEETS: [(&str, Meets); 8] = [
    ("get", |home| finds(home.store.get(&name("data"), &CancelToken::default()).map(drop))),
    ("list", |home| listed(&home.store) == ["data"]),
    ("exists", |home| finds(home.store.files(&name("data")).exists("dir").map(drop))),
    ("write", |home| {
        let files = home.store.files(&name("data"));
        finds(files.write("written", b"x", Default::default(), &CancelToken::default()))
    }),
    ("list a directory", |home| {
        finds(home.store.files(&name("data")).list("", Default::default()).map(drop))
    }),
    ("attach", |home| {
        let volume = sandbox_volumes::model::OptionValue::Text("data".to_owned());
        let mount = MountConfig::named(&volume, &sandbox_volumes::model::OptionValue::Absent).unwrap();
        let mounts = validate_and_order(vec![("/data".to_owned(), mount)]).unwrap();
        let attached = home.store.attach("worker", &mounts, None, &CancelToken::default());
        finds(attached.and_then(|attached| home.store.detach(attached.id)))
    }),
    ("create", |home| {
        let spec = VolumeSpec::from_options(&[]).unwrap();
        let created = home.store.create(&name("data"), &spec, &CancelToken::default());
        if created.is_ok() {
            home.store.remove(&name("data"), &CancelToken::default()).unwrap();
            return false;
        }
        finds(created.map(drop))
    }),
    ("remove", |home| {
        let is_there = finds(home.store.remove(&name("data"), &CancelToken::default()));
        if is_there {
            home.create("data");
            home.leave_directory("volumes/data");
        }
        is_there
    }),
];

#[test]
fn case_57_the_next_call_on_a_name_settles_what_a_dead_process_left_in_a_home_that_is_open() {
    for (action, directory, is_there) in LEFT {
        for (operation, meets) in MEETS {
            let about = format!("{operation} after {action} at {directory:?}");
            let home = Home::new();
            home.leave_intent(action, ENTRY);
            directory.into_iter().for_each(|below| home.leave_directory(below));
            assert_eq!(meets(&home), is_there, "{about}");
            assert_eq!(home.intents(), 0, "{about}");
            for (other, meets) in MEETS {
                assert_eq!(meets(&home), is_there, "{about}, then {other}");
            }
            assert!(
                is_empty(&home.path("volumes/.staging")) && is_empty(&home.path("volumes/.trash")),
                "{about}"
            );
            assert_eq!(home.ours_in_locks(), [""; 0], "{about}");
        }
    }
}

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

#[test]
fn what_a_living_process_is_doing_is_left_to_it() {
    for action in ["create", "remove"] {
        let home = Home::new();
        let lock = home.lock("volumes/.locks/data.lock");
        home.leave_intent(action, ENTRY);
        for below in ["volumes/.staging/data~1a-2b-3c", "volumes/.trash/data~1a-2b-3c"] {
            home.leave_directory(below);
        }
        let store = home.reopen();
        assert_eq!(listed(&store), [""; 0]);
        assert_eq!(home.intents(), 1, "{action}");
        for below in ["volumes/.staging/data~1a-2b-3c", "volumes/.trash/data~1a-2b-3c"] {
            assert!(home.holds(below), "{action}: {below}");
        }
        drop(lock);
        let store = home.reopen();
        home.assert_absent(&store);
    }
}

#[test]
fn entries_of_staging_and_trash_without_an_intent_are_cleared() {
    let home = Home::new();
    for below in ["volumes/.staging/data~1a-2b-3c", "volumes/.trash/data~1a-2b-3c", "volumes/data"] {
        home.leave_directory(below);
    }
    home.reopen();
    assert!(is_empty(&home.path("volumes/.staging")));
    assert!(is_empty(&home.path("volumes/.trash")));
    assert!(home.holds("volumes/data/dir/file"), "what stands among the volumes is not ours to clear");
}

#[test]
fn the_temporary_file_of_a_dead_process_is_cleared_whatever_its_mode() {
    for mode in [0o644, 0o400, 0o200] {
        let home = Home::new();
        let temporary = home.path("volumes/.staging").join(TEMPORARY);
        home.leave_file("volumes/.staging/1a-2b-3c");
        fs::set_permissions(&temporary, fs::Permissions::from_mode(mode)).unwrap();
        home.reopen();
        assert!(!temporary.exists(), "mode {mode:o}");
    }
}

#[test]
fn the_temporary_file_of_a_living_process_stays() {
    let home = Home::new();
    home.leave_file("volumes/.staging/1a-2b-3c");
    let lock = home.lock("volumes/.staging/1a-2b-3c");
    home.reopen();
    assert_eq!(fs::read_to_string(home.path("volumes/.staging").join(TEMPORARY)).unwrap(), "half a fi");
    drop(lock);
    home.reopen();
    assert!(is_empty(&home.path("volumes/.staging")));
}

#[test]
fn what_is_not_ours_in_staging_and_trash_stays_and_does_not_keep_the_store_from_opening() {
    let home = Home::new();
    for below in ["volumes/.staging/theirs", "volumes/.trash/theirs", "volumes/.staging/not a name~1-2-3"] {
        home.leave_directory(below);
    }
    // What a link leads to is the test's own: a removal that followed it would delete it.
    home.leave_directory("elsewhere");
    std::os::unix::fs::symlink(home.path("elsewhere"), home.path("volumes/.staging/link")).unwrap();
    home.reopen();
    for below in [
        "volumes/.staging/theirs/dir/file",
        "volumes/.trash/theirs/dir/file",
        "volumes/.staging/link",
        "elsewhere/dir/file",
    ] {
        assert!(home.holds(below), "{below}");
    }
}

#[test]
fn an_intent_whose_entry_is_a_path_deletes_nothing_there() {
    for action in ["create", "remove"] {
        for entry in ["../../victim", "data~../../../victim", "data~1-2-3/../../../victim", "other~1-2-3", ""]
        {
            let home = Home::new();
            home.leave_directory("victim");
            home.leave_directory("volumes/data");
            home.leave_intent(action, entry);
            let store = home.reopen();
            assert!(home.holds("victim/dir/file"), "{action} {entry:?}");
            home.assert_whole(&store);
        }
    }
}
