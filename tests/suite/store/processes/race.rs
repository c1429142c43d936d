//! Processes that do the same thing at the same time.

use crate::support::home::{Home, name};
use crate::support::report::report;
use crate::support::worker::{self, Worker};
use sandbox_volumes::model::{Labels, OptionValue, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Durability, Store, check};
use sandbox_volumes::sync::CancelToken;
use std::path::Path;

/// Gives every worker the same order and collects their answers, sorted.
fn order_all(workers: &mut [Worker], order: &str) -> Vec<String> {
    workers.iter_mut().for_each(|worker| worker.order(order));
    let mut answers: Vec<_> = workers.iter_mut().map(|worker| worker.answer().unwrap()).collect();
    answers.sort();
    answers
}

fn race_to_ensure_one_volume(processes: usize, rounds: u32) {
    let home = Home::new();
    let mut workers: Vec<_> =
        (0..processes).map(|_| Worker::start(worker_that_obeys, &home.path(""))).collect();
    for round in 0..rounds {
        let ensured = order_all(&mut workers, "ensure data");
        assert_eq!(ensured, vec!["ok"; processes], "round {round}");
        let holders = home.store.attachments(None, Some(&name("data")), &CancelToken::default()).unwrap();
        assert_eq!(holders.len(), processes, "round {round}");
        assert_eq!(home.store.list(&Labels::default(), &CancelToken::default()).unwrap().len(), 1);
        // Volumes are numbered, and a number is given to one volume only.
        let made: u32 = rusqlite::Connection::open(home.path("db/volumes.db"))
            .unwrap()
            .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'volume'", (), |row| row.get(0))
            .unwrap();
        assert_eq!(made, round + 1, "a volume was made twice");
        assert_eq!(order_all(&mut workers, "let-go data"), vec!["ok"; processes]);
        home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    }
    assert_eq!(std::fs::read_dir(home.path("volumes/.staging")).unwrap().count(), 0);
}

#[test]
fn two_processes_that_ensure_one_volume_both_get_it_and_it_is_made_once() {
    race_to_ensure_one_volume(2, 200);
}

#[test]
fn eight_processes_that_ensure_one_volume_all_get_it_and_it_is_made_once() {
    race_to_ensure_one_volume(8, 50);
}

#[test]
fn processes_that_write_and_processes_that_open_do_not_disturb_each_other() {
    let home = Home::new();
    home.create("data");
    let worker = |_| Worker::start(worker_that_obeys, &home.path(""));
    let mut openers: Vec<_> = (0..2).map(worker).collect();
    let mut writers: Vec<_> = (0..2).map(worker).collect();
    for round in 0..100 {
        openers.iter_mut().for_each(|opener| opener.order(&format!("open {}", home.path("").display())));
        let written = order_all(&mut writers, "write data");
        assert_eq!(written, ["ok", "ok"], "round {round}");
        for opener in &mut openers {
            assert_eq!(opener.answer().unwrap(), "ok", "round {round}");
        }
    }
    assert_eq!(std::fs::read_dir(home.path("volumes/.staging")).unwrap().count(), 0);
}

#[test]
fn eight_processes_open_one_fresh_home_at_once() {
    let homes = tempfile::tempdir().unwrap();
    let mut workers: Vec<_> = (0..8).map(|_| Worker::start(worker_that_obeys, homes.path())).collect();
    for round in 0..10 {
        let fresh = homes.path().join(format!("{round}/below"));
        let opened = order_all(&mut workers, &format!("open {}", fresh.display()));
        assert_eq!(opened, vec!["ok"; 8], "round {round}");
    }
}

#[test]
fn a_listed_volume_has_its_directory_while_another_process_creates_and_removes() {
    let home = Home::new();
    let mut worker = Worker::start(worker_that_obeys, &home.path(""));
    worker.order("churn 300");
    let list = || home.store.list(&Labels::default(), &CancelToken::default()).unwrap();
    let (mut seen, mut vanished) = (0, 0);
    let answer = std::thread::scope(|threads| {
        let working = threads.spawn(|| worker.answer());
        while !working.is_finished() {
            for volume in list() {
                seen += 1;
                if !volume.path.is_dir() {
                    vanished += 1;
                    let id = volume.record.id;
                    assert!(list().iter().all(|again| again.record.id != id), "{volume:?} is still listed");
                }
            }
        }
        working.join().unwrap()
    });
    assert_eq!(answer.as_deref(), Some("ok"));
    report(format_args!(
        "{seen} volumes were listed, of which {vanished} were removed before a look at their directory"
    ));
    assert!(list().is_empty());
}

#[test]
fn a_check_finds_nothing_wrong_while_another_process_creates_and_removes() {
    let home = Home::new();
    let mut worker = Worker::start(worker_that_obeys, &home.path(""));
    worker.order("churn 300");
    let (mut checks, mut found) = (0, Vec::new());
    let answer = std::thread::scope(|threads| {
        let working = threads.spawn(|| worker.answer());
        while !working.is_finished() {
            found.extend(check(&home.path(""), checks % 2 == 0, &CancelToken::default()).unwrap());
            checks += 1;
        }
        working.join().unwrap()
    });
    assert_eq!(answer.as_deref(), Some("ok"));
    assert!(found.is_empty(), "{} of {checks} checks, as {:?}", found.len(), found[0]);
    report(format_args!("{checks} checks"));
}

/// Obeys orders on its home, and answers `ok` or the error's code. An unexpected error is shown in full.
#[test]
#[ignore = "a worker that another test starts as a second process"]
fn worker_that_obeys() {
    let Some(home) = worker::home() else { return };
    let mut store = None;
    for order in worker::orders() {
        let (verb, argument) = order.split_once(' ').unwrap();
        let result = match verb {
            "open" => open_and_list(Path::new(argument)),
            _ => {
                let store = store.get_or_insert_with(|| {
                    std::sync::Arc::new(Store::open(&home, Durability::Full).unwrap())
                });
                obey(store, verb, argument)
            }
        };
        worker::say(match result {
            Ok(()) => "ok".to_owned(),
            Err(error) if error.code().starts_with("ERR_VOLUME") => error.code(),
            Err(error) => error.to_string(),
        });
    }
}

fn obey(
    store: &std::sync::Arc<Store>,
    verb: &str,
    argument: &str,
) -> Result<(), sandbox_volumes::error::Error> {
    let spec = VolumeSpec::from_options(&[])?;
    let cancel = CancelToken::default;
    match verb {
        "ensure" => {
            let ensure = serde_json::json!({ "mode": "ensure-exists", "quotaMib": 4 }).into();
            let volume = OptionValue::Text(argument.to_owned());
            let mount = MountConfig::named_with(&volume, &OptionValue::Absent, &ensure)?;
            store
                .attach("worker", &validate_and_order(vec![("/data".to_owned(), mount)])?, None, &cancel())
                .map(drop)
        }
        "let-go" => {
            let held = store.attachments(None, Some(&name(argument)), &cancel())?;
            let mut own = held.iter().filter(|it| it.record.owner.pid == std::process::id());
            own.try_for_each(|attachment| store.detach(attachment.record.id))
        }
        "write" => {
            let options = sandbox_volumes::volume_fs::WriteOptions { atomic: true, ..Default::default() };
            let file = std::process::id().to_string();
            (0..10).try_for_each(|_| store.files(&name(argument)).write(&file, b"x", options, &cancel()))
        }
        "churn" => {
            for round in 0..argument.parse().unwrap() {
                let volume = name(["a", "b", "c"][round % 3]);
                store.create(&volume, &spec, &cancel())?;
                store.remove(&volume, &cancel())?;
            }
            Ok(())
        }
        _ => panic!("{verb} is no order"),
    }
}

fn open_and_list(home: &Path) -> Result<(), sandbox_volumes::error::Error> {
    Store::open(home, Durability::Full)?.list(&Labels::default(), &CancelToken::default()).map(drop)
}
