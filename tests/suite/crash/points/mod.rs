//! Forces every state that a crash can leave, and opens the home again.

mod next_call;
mod removal_locks;

use crate::support::home::{Home, name};
use rusqlite::Connection;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::Labels;
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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
