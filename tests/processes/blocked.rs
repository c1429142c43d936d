//! Somebody else holds what we need and does not let go.

use crate::support::{Home, name};
use crate::worker::{self, Worker};
use rusqlite::Connection;
use sandbox_volumes::content::WriteOptions;
use sandbox_volumes::error::{Error, ErrorKind};
use sandbox_volumes::model::{Cancel, Labels, VolumeSpec};
use sandbox_volumes::store::{Durability, Store};
use std::fs::File;
use std::process::Command;
use std::time::{Duration, Instant};

/// How long we wait for others, as DESIGN.md promises, and what a busy machine may add to it.
const PROMISED: Duration = Duration::from_secs(5);
const LATEST: Duration = Duration::from_secs(9);

type Operation<'a> = Box<dyn FnOnce() -> Result<(), Error> + Send + 'a>;

/// Runs operations at once, each of which must wait as long as promised, and no longer, and fail.
fn wait_and_fail<const N: usize>(operations: [Operation<'_>; N]) -> [Error; N] {
    std::thread::scope(|threads| {
        let waiting = operations.map(|operation| {
            threads.spawn(|| {
                let start = Instant::now();
                let error = operation().unwrap_err();
                (error, start.elapsed())
            })
        });
        waiting.map(|operation| {
            let (error, waited) = operation.join().unwrap();
            assert!((PROMISED..LATEST).contains(&waited), "{waited:?}: {error}");
            error
        })
    })
}

fn create(home: &Home, volume: &str) -> Result<(), Error> {
    home.store.create(&name(volume), &VolumeSpec::from_options(&[])?, &Cancel::default()).map(drop)
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

#[test]
fn a_stopped_process_blocks_only_the_name_that_it_holds() {
    let home = Home::new();
    home.create("read");
    let mut holder = Worker::start("blocked::worker_that_locks", &home.path(""));
    holder.order("held");
    holder.order("read");
    assert_eq!(holder.answer().as_deref(), Some("locked held"));
    assert_eq!(holder.answer().as_deref(), Some("locked read"));
    let process = holder.process.id();
    signal(process, "STOP");
    while state(process) != "T" {
        std::thread::yield_now();
    }

    create(&home, "other").unwrap();
    home.store.remove(&name("other"), &Cancel::default()).unwrap();
    home.store.get(&name("read"), &Cancel::default()).unwrap();
    home.store.files(&name("read")).write("f", b"x", WriteOptions::default(), &Cancel::default()).unwrap();
    Store::open(&home.path(""), Durability::Full).unwrap();
    for error in wait_and_fail([
        Box::new(|| create(&home, "held")),
        Box::new(|| home.store.remove(&name("read"), &Cancel::default())),
    ]) {
        assert_eq!(error.kind(), ErrorKind::VolumeInUse);
        assert!(error.to_string().contains("by another operation"), "{error}");
    }

    signal(process, "CONT");
    drop(holder);
    create(&home, "held").unwrap();
    home.store.remove(&name("read"), &Cancel::default()).unwrap();
}

#[test]
fn waiting_for_a_name_ends_when_it_is_cancelled() {
    let home = Home::new();
    let mut holder = Worker::start("blocked::worker_that_locks", &home.path(""));
    holder.order("held");
    assert_eq!(holder.answer().as_deref(), Some("locked held"));
    let cancel = Cancel::default();
    cancel.cancel();
    let start = Instant::now();
    let spec = VolumeSpec::from_options(&[]).unwrap();
    let error = home.store.create(&name("held"), &spec, &cancel).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Aborted);
    assert!(start.elapsed() < PROMISED);
}

#[test]
fn a_catalog_that_another_program_writes_to_can_still_be_read() {
    let home = Home::new();
    home.create("data");
    let files = home.store.files(&name("data"));
    home.store.attach("alive", &[], None, &Cancel::default()).unwrap();
    let other = Connection::open(home.path("db/volumes.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let cancel = Cancel::default;
    let start = Instant::now();
    home.store.get(&name("data"), &cancel()).unwrap();
    assert_eq!(home.store.list(&Labels::default(), &cancel()).unwrap().len(), 1);
    files.write("file", b"x", WriteOptions::default(), &cancel()).unwrap();
    assert!(files.exists("file").unwrap());
    files.open("file").unwrap();
    files.remove("file", &cancel()).unwrap();
    Store::open(&home.path(""), Durability::Full).unwrap().get(&name("data"), &cancel()).unwrap();
    assert!(start.elapsed() < PROMISED, "a read waited for the writer");

    for error in wait_and_fail([
        Box::new(|| create(&home, "new")),
        Box::new(|| home.store.remove(&name("data"), &cancel())),
        Box::new(|| home.store.attach("worker", &[], None, &cancel()).map(drop)),
        Box::new(|| home.store.detach(1)),
    ]) {
        assert_eq!(error.kind(), ErrorKind::Catalog, "{error}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    home.store.remove(&name("data"), &cancel()).unwrap();
    create(&home, "new").unwrap();
}

/// Takes the lock of every name it is given, and holds them all.
#[test]
#[ignore = "a worker that another test starts as a second process"]
fn worker_that_locks() {
    let Some(home) = worker::home() else { return };
    let mut held = Vec::new();
    for volume in worker::orders() {
        let path = home.join(format!("volumes/.locks/{volume}.lock"));
        let file = File::options().write(true).create(true).truncate(false).open(path).unwrap();
        file.lock().unwrap();
        held.push(file);
        worker::say(format!("locked {volume}"));
    }
}
