//! Another process holds a lock and does not release it.

use crate::support::home::{Home, name};
use crate::support::worker::{self, Worker};
use rusqlite::Connection;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Labels, OptionValue, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{AppendOptions, Durability, Store};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteOptions;
use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long we wait for others, as DESIGN.md promises, and less than it takes to wait twice.
const PROMISED: Duration = Duration::from_secs(5);
const LESS_THAN_TWICE: Duration = Duration::from_secs(9);

/// How often something is tried of which one try shows that it does not wait. What waits does so each time; what does
/// not may be held up by a busy machine.
const TRIES: usize = 6;

type Operation<'a> = Box<dyn Fn() -> Result<(), Error> + Send + Sync + 'a>;

/// Runs operations at once, each of which must wait as long as promised, and not once more, and fail.
fn wait_and_fail<const N: usize>(operations: [Operation<'_>; N]) -> [Error; N] {
    for _ in 0..TRIES {
        let ended = std::thread::scope(|threads| {
            let waiting = operations.each_ref().map(|operation| {
                threads.spawn(move || {
                    let start = Instant::now();
                    let error = operation().unwrap_err();
                    (error, start.elapsed())
                })
            });
            waiting.map(|operation| operation.join().unwrap())
        });
        assert!(ended.iter().all(|(_, waited)| *waited >= PROMISED), "{ended:?}");
        if ended.iter().all(|(_, waited)| *waited < LESS_THAN_TWICE) {
            return ended.map(|(error, _)| error);
        }
    }
    panic!("some waited longer than promised, each time");
}

/// Does something, which must not wait until `bound`.
#[track_caller]
fn ends_within(bound: Duration, work: impl Fn()) {
    let is_shown = (0..TRIES).any(|_| {
        let start = Instant::now();
        work();
        start.elapsed() < bound
    });
    assert!(is_shown, "it waited, each time");
}

fn create(home: &Home, volume: &str) -> Result<(), Error> {
    home.store.create(&name(volume), &VolumeSpec::from_options(&[])?, &CancelToken::default()).map(drop)
}

fn signal(process: u32, signal: &str) {
    let status = Command::new("sh").args(["-c", &format!("kill -{signal} {process}")]).status().unwrap();
    assert!(status.success());
}

/// The state of a process, as procfs tells it.
fn state(process: u32) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1[..1].to_owned()
}

/// A process that holds files of a home locked and does not move.
struct Stopped(Worker);

impl Stopped {
    fn holding(home: &Home, files: &[&str]) -> Self {
        let mut holder = Worker::start(worker_that_locks, &home.path(""));
        for file in files {
            holder.order(file);
            assert_eq!(holder.answer(), Some(format!("locked {file}")));
        }
        let process = holder.process.id();
        signal(process, "STOP");
        while state(process) != "T" {
            std::thread::yield_now();
        }
        Stopped(holder)
    }

    /// Lets it go on, and ends it.
    fn release(self) {
        signal(self.0.process.id(), "CONT");
    }
}

#[test]
fn a_stopped_process_blocks_only_the_name_that_it_holds() {
    let home = Home::new();
    home.create("read");
    let holder = Stopped::holding(&home, &["volumes/.locks/held.lock", "volumes/.locks/read.lock"]);

    ends_within(PROMISED, || {
        create(&home, "other").unwrap();
        home.store.remove(&name("other"), &CancelToken::default()).unwrap();
        home.store.get(&name("read"), &CancelToken::default()).unwrap();
        let files = home.store.files(&name("read"));
        files.write("f", b"x", WriteOptions::default(), &CancelToken::default()).unwrap();
        Store::open(&home.path(""), Durability::Full).unwrap();
    });
    for error in wait_and_fail([
        Box::new(|| create(&home, "held")),
        Box::new(|| home.store.remove(&name("read"), &CancelToken::default())),
    ]) {
        assert_eq!(error.kind(), ErrorKind::VolumeInUse);
        assert!(error.to_string().contains("by another operation"), "{error}");
    }

    holder.release();
    create(&home, "held").unwrap();
    home.store.remove(&name("read"), &CancelToken::default()).unwrap();
}

#[test]
fn waiting_for_a_name_ends_when_it_is_cancelled() {
    let home = Home::new();
    let _holder = Stopped::holding(&home, &["volumes/.locks/held.lock"]);
    let cancel = CancelToken::default();
    cancel.cancel();
    let spec = VolumeSpec::from_options(&[]).unwrap();
    ends_within(PROMISED, || {
        let error = home.store.create(&name("held"), &spec, &cancel).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Aborted);
    });
}

/// What reads the catalog, or leaves it alone.
fn read_and_write_files(home: &Home) {
    let (files, cancel) = (home.store.files(&name("data")), CancelToken::default);
    home.store.get(&name("data"), &cancel()).unwrap();
    assert_eq!(home.store.list(&Labels::default(), &cancel()).unwrap().len(), 1);
    files.write("file", b"x", WriteOptions::default(), &cancel()).unwrap();
    files.open("file").unwrap();
}

fn wait_and_fail_to_write_the_catalog(home: &Home) {
    let cancel = CancelToken::default;
    for error in wait_and_fail([
        Box::new(|| create(home, "new")),
        Box::new(|| home.store.remove(&name("data"), &cancel())),
        Box::new(|| home.store.attach("worker", &[], None, &cancel()).map(drop)),
        Box::new(|| home.store.detach(1)),
    ]) {
        assert_eq!(error.kind(), ErrorKind::Catalog, "{error}");
    }
}

#[test]
fn a_catalog_that_another_program_writes_to_can_still_be_read() {
    let home = Home::new();
    home.create("data");
    let files = home.store.files(&name("data"));
    home.store.attach("alive", &[], None, &CancelToken::default()).unwrap();
    let other = Connection::open(home.path("db/volumes.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let cancel = CancelToken::default;
    ends_within(PROMISED, || {
        read_and_write_files(&home);
        assert!(files.exists("file").unwrap());
        files.remove("file", &cancel()).unwrap();
        Store::open(&home.path(""), Durability::Full).unwrap().get(&name("data"), &cancel()).unwrap();
    });

    wait_and_fail_to_write_the_catalog(&home);
    other.execute_batch("ROLLBACK").unwrap();
    home.store.remove(&name("data"), &cancel()).unwrap();
    create(&home, "new").unwrap();
}

#[test]
fn a_writer_of_the_catalog_that_was_stopped_keeps_nobody_from_reading() {
    let home = Home::new();
    home.create("data");
    let mut process = Command::new("sleep").arg("600").spawn().unwrap();
    home.store.attach("dead", &[], Some(process.id()), &CancelToken::default()).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    abandon_intents(&home);
    let holder = Stopped::holding(&home, &["db/volumes.db.lock"]);

    let cancel = CancelToken::default;
    ends_within(PROMISED, || read_and_write_files(&home));
    // It does not wait for each thing that is left to do.
    ends_within(LESS_THAN_TWICE, || {
        let reopened = Store::open(&home.path(""), Durability::Full).unwrap();
        reopened.get(&name("data"), &cancel()).unwrap();
    });
    wait_and_fail_to_write_the_catalog(&home);

    holder.release();
    home.store.remove(&name("data"), &cancel()).unwrap();
    create(&home, "new").unwrap();
}

#[test]
fn a_home_that_cannot_be_opened_anew_has_nobody_wait_for_the_attempts_of_others() {
    let home = Home::new();
    home.create("data");
    let holder = Stopped::holding(&home, &["db/volumes.db.lock"]);
    for suffix in ["", "-wal", "-shm"] {
        std::fs::remove_file(home.path("db").join(format!("volumes.db{suffix}"))).unwrap();
    }
    let cancel = CancelToken::default;
    for error in wait_and_fail([
        Box::new(|| create(&home, "new")),
        Box::new(|| home.store.get(&name("data"), &cancel()).map(drop)),
        Box::new(|| home.store.list(&Labels::default(), &cancel()).map(drop)),
        Box::new(|| home.store.remove(&name("data"), &cancel())),
    ]) {
        assert_eq!(error.kind(), ErrorKind::Catalog, "{error}");
    }
    holder.release();
    home.store.remove(&name("data"), &cancel()).unwrap();
}

/// What processes leave that die while they create a volume or remove one.
fn abandon_intents(home: &Home) {
    let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
    for (at, action) in ["create", "create", "remove", "remove"].into_iter().enumerate() {
        let name = format!("left-{at}");
        catalog.execute("INSERT INTO volume (name, kind, labels) VALUES (?1, 'dir', '{}')", [&name]).unwrap();
        let intent = "INSERT INTO intent (volume_id, action, entry) VALUES (?1, ?2, ?3)";
        let entry = format!("{name}~1-2-3");
        catalog.execute(intent, (catalog.last_insert_rowid(), action, entry)).unwrap();
    }
}

#[test]
fn a_writer_of_a_volume_with_a_quota_that_was_stopped_blocks_only_the_writers_of_that_volume() {
    for lock in ["volumes/.locks/limited~quota.lock", "volumes/.locks/limited~quota-next.lock"] {
        let home = Home::new();
        let cancel = CancelToken::default;
        let spec = VolumeSpec::from_options(&[serde_json::json!({ "quotaMib": 1 }).into()]).unwrap();
        for volume in ["limited", "other"] {
            home.store.create(&name(volume), &spec, &cancel()).unwrap();
            let files = home.store.files(&name(volume));
            files.write("file", b"x", WriteOptions::default(), &cancel()).unwrap();
        }
        let holder = Stopped::holding(&home, &[lock]);

        let (limited, other) = (home.store.files(&name("limited")), home.store.files(&name("other")));
        ends_within(PROMISED, || {
            other.write("file", b"y", WriteOptions::default(), &cancel()).unwrap();
            assert_eq!(limited.open("file").unwrap().read(&cancel()).unwrap(), b"x");
            home.store.list(&Labels::default(), &cancel()).unwrap();
            limited.rename("file", "renamed", &cancel()).unwrap();
            limited.rename("renamed", "file", &cancel()).unwrap();
        });
        let write = |path: &str| limited.write(path, b"y", WriteOptions::default(), &cancel());
        for error in wait_and_fail([
            Box::new(|| write("a")),
            Box::new(|| write("b")),
            Box::new(|| write("c")),
            Box::new(|| limited.mkdir("d", &cancel())),
            Box::new(|| limited.append("file", b"y", AppendOptions::default(), &cancel())),
            Box::new(|| limited.copy("file", "copied", &cancel()).map(drop)),
        ]) {
            assert_eq!(error.kind(), ErrorKind::VolumeInUse, "{lock}: {error}");
        }

        holder.release();
        write("a").unwrap();
    }
}

#[test]
fn a_stopped_process_keeps_its_disk_and_what_it_is_making_and_nobody_waits_for_it() {
    let home = Home::new();
    let cancel = CancelToken::default;
    let disk = serde_json::json!({ "kind": "disk", "sizeMib": 8 });
    home.store.create(&name("disk"), &VolumeSpec::from_options(&[disk.into()]).unwrap(), &cancel()).unwrap();
    let (staged, trashed) = ("volumes/.staging/1-2-3", "volumes/.trash/1-2-4");
    let holder = Stopped::holding(&home, &["volumes/disk/disk.raw", staged, trashed]);

    let mount = MountConfig::named(&OptionValue::Text("disk".to_owned()), &OptionValue::Absent).unwrap();
    let mounts = validate_and_order(vec![("/data".to_owned(), mount)]).unwrap();
    ends_within(PROMISED, || {
        for refused in [
            home.store.attach("worker", &mounts, None, &cancel()).map(drop),
            home.store.remove(&name("disk"), &cancel()),
        ] {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::VolumeInUse);
        }
        home.store.get(&name("disk"), &cancel()).unwrap();
        Store::open(&home.path(""), Durability::Full).unwrap();
        assert!(home.path(staged).exists() && home.path(trashed).exists());
    });

    holder.release();
    Store::open(&home.path(""), Durability::Full).unwrap();
    assert!(!home.path(staged).exists() && !home.path(trashed).exists());
    home.store.remove(&name("disk"), &cancel()).unwrap();
}

/// Takes the lock of every file of its home that it is given, made where it is missing, and holds them all.
#[test]
#[ignore = "a worker that another test starts as a second process"]
fn worker_that_locks() {
    let Some(home) = worker::home() else { return };
    let mut held = Vec::new();
    for below in worker::orders() {
        let path = home.join(&below);
        let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
        file.lock().unwrap();
        held.push(file);
        worker::say(format!("locked {below}"));
    }
}
