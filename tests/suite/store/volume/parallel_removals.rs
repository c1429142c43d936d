//! Removals of large volumes that a dead process left, met by operations that do not wait for the deletion.

use crate::support::child::in_child;
use crate::support::volume::Volume;
use rusqlite::Connection;
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::model::{Labels, VolumeName, VolumeSpec};
use sandbox_volumes::store::{BackgroundWork, Durability, Store, delete_in_background};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::thread;

/// More entries than a directory has that is emptied within a slice of time.
const ENTRIES: usize = 2_000;

/// The work that operations left to others.
static QUEUED: Mutex<Vec<BackgroundWork>> = Mutex::new(Vec::new());

/// The queue of this process, which is one test only.
struct Queue;

impl Queue {
    fn new() -> Self {
        delete_in_background(|work| QUEUED.lock().unwrap().push(work));
        Queue
    }

    fn length(&self) -> usize {
        QUEUED.lock().unwrap().len()
    }

    fn run(&self) {
        let work = std::mem::take(&mut *QUEUED.lock().unwrap());
        work.into_iter().for_each(|work| work());
    }
}

/// Fills a volume and leaves its removal as a process does that dies once it moved the volume to the trash.
fn leave_removal(volume: &Volume, name: &VolumeName) {
    let many = volume.store.files(name).root().join("many");
    fs::create_dir(&many).unwrap();
    for entry in 0..ENTRIES {
        fs::write(many.join(format!("a long name {entry:05}")), "").unwrap();
    }
    drop(volume.store.begin_remove(name, &CancelToken::default()).unwrap());
}

fn trash(volume: &Volume) -> PathBuf {
    volume.store.home().join("volumes/.trash")
}

/// How many entries are left of each removed volume.
fn left(volume: &Volume) -> Vec<usize> {
    let removed = fs::read_dir(trash(volume)).unwrap();
    removed.map(|removed| fs::read_dir(removed.unwrap().path().join("many")).unwrap().count()).collect()
}

/// Creates the volume; another removal of its name may take longer than one creation waits.
fn create(volume: &Volume) {
    let spec = VolumeSpec::from_options(&[]).unwrap();
    while let Err(error) = volume.store.create(&volume.name, &spec, &CancelToken::default()) {
        assert_eq!(error.kind(), ErrorKind::VolumeInUse, "{error}");
    }
}

#[test]
fn a_reader_answers_before_the_content_is_deleted() {
    in_child(|| {
        let (queue, volume) = (Queue::new(), Volume::new(json!({})));
        leave_removal(&volume, &volume.name);
        let cancel = CancelToken::default();
        let not_found = |kind: ErrorKind| assert_eq!(kind, ErrorKind::VolumeNotFound);
        not_found(volume.store.get(&volume.name, &cancel).unwrap_err().kind());
        assert_eq!((queue.length(), left(&volume)), (1, vec![ENTRIES]));
        // From then on it is a removal like one of a living process.
        not_found(volume.files.exists("many").unwrap_err().kind());
        not_found(volume.files.prepare_write().unwrap_err().kind());
        assert!(volume.store.list(&Labels::default(), &cancel).unwrap().is_empty());
        let spec = VolumeSpec::from_options(&[]).unwrap();
        thread::scope(|scope| {
            let creating = scope.spawn(|| volume.store.create(&volume.name, &spec, &cancel));
            cancel.cancel();
            assert_eq!(creating.join().unwrap().unwrap_err().kind(), ErrorKind::Aborted);
        });
        assert_eq!((queue.length(), left(&volume)), (1, vec![ENTRIES]));
        queue.run();
        assert_eq!((queue.length(), left(&volume)), (0, vec![]));
        assert!(volume.outside.exists());
        not_found(volume.store.get(&volume.name, &CancelToken::default()).unwrap_err().kind());
        create(&volume);
        assert!(!volume.files.exists("many").unwrap());
    });
}

#[test]
fn a_creation_waits_until_the_content_is_deleted() {
    in_child(|| {
        let (queue, volume) = (Queue::new(), Volume::new(json!({})));
        leave_removal(&volume, &volume.name);
        thread::scope(|scope| {
            let creating = scope.spawn(|| create(&volume));
            while queue.length() == 0 {
                thread::yield_now();
            }
            assert_eq!(left(&volume), [ENTRIES]);
            queue.run();
            creating.join().unwrap();
        });
        assert!(left(&volume).is_empty());
        assert!(!volume.files.exists("many").unwrap());
    });
}

#[test]
fn a_list_answers_at_once_however_many_removals_it_meets_unless_it_is_aborted() {
    in_child(|| {
        let (queue, volume) = (Queue::new(), Volume::new(json!({})));
        let others = ["a", "b"].map(|name| VolumeName::parse(name).unwrap());
        let spec = VolumeSpec::from_options(&[]).unwrap();
        for name in &others {
            volume.store.create(name, &spec, &CancelToken::default()).unwrap();
        }
        for name in others.iter().chain([&volume.name]) {
            leave_removal(&volume, name);
        }
        let cancel = CancelToken::default();
        cancel.cancel();
        let aborted = volume.store.list(&Labels::default(), &cancel).unwrap_err();
        assert_eq!((aborted.kind(), queue.length()), (ErrorKind::Aborted, 0));
        assert!(volume.store.list(&Labels::default(), &CancelToken::default()).unwrap().is_empty());
        assert_eq!((queue.length(), left(&volume)), (3, vec![ENTRIES; 3]));
        queue.run();
        assert!(left(&volume).is_empty());
    });
}

#[test]
fn a_removal_that_was_left_again_is_finished_by_the_next_to_meet_it() {
    in_child(|| {
        let (queue, volume) = (Queue::new(), Volume::new(json!({})));
        leave_removal(&volume, &volume.name);
        for _ in 0..2 {
            volume.store.get(&volume.name, &CancelToken::default()).unwrap_err();
            assert_eq!((queue.length(), left(&volume)), (1, vec![ENTRIES]));
            QUEUED.lock().unwrap().clear();
        }
        drop(Store::open(volume.store.home(), Durability::Fast).unwrap());
        assert_eq!((queue.length(), left(&volume)), (0, vec![]));
    });
}

#[test]
fn a_directory_that_is_made_once_the_content_is_deleted_is_not_the_volume() {
    in_child(|| {
        let (queue, volume) = (Queue::new(), Volume::new(json!({})));
        leave_removal(&volume, &volume.name);
        let catalog = Connection::open(volume.store.home().join("db/volumes.db")).unwrap();
        // As a removal leaves it that dies before it puts back what it could not delete.
        catalog.execute("UPDATE volume SET identity_stored = 0", ()).unwrap();
        volume.store.get(&volume.name, &CancelToken::default()).unwrap_err();
        assert_eq!((queue.length(), left(&volume)), (1, vec![ENTRIES]));
        catalog.execute_batch("BEGIN IMMEDIATE").unwrap();
        queue.run();
        catalog.execute_batch("ROLLBACK").unwrap();
        let intents: i64 = catalog.query_row("SELECT count(*) FROM intent", (), |row| row.get(0)).unwrap();
        assert_eq!((intents, left(&volume)), (1, vec![]));
        // Microsandbox makes a volume of that name.
        fs::create_dir(volume.files.root()).unwrap();
        fs::write(volume.files.root().join("file"), "theirs").unwrap();
        volume.store.get(&volume.name, &CancelToken::default()).unwrap_err();
        assert_eq!(fs::read_to_string(volume.files.root().join("file")).unwrap(), "theirs");
    });
}
