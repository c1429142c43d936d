//! Rounds in which several processes do the same, or what goes against each other, at one moment.

use super::faulty;
use crate::support::home::{Home, name};
use crate::support::read_only::in_read_only_namespace;
use crate::support::report::report;
use crate::support::worker::{self, Worker};
use sandbox_volumes::error::Error;
use sandbox_volumes::model::{Labels, OptionValue, VolumeSpec};
use sandbox_volumes::mount::{MountConfig, validate_and_order};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

const CREATED: &str = "ERR_VOLUME_ALREADY_EXISTS";
const GONE: &str = "ERR_VOLUME_NOT_FOUND";
const IN_USE: &str = "ERR_VOLUME_IN_USE";

/// What each process did in a round and how it ended, and how often that was so.
struct Outcomes(BTreeMap<(String, String), usize>);

impl Outcomes {
    fn count(&self, order: &str, outcome: &str) -> usize {
        self.0.get(&(order.to_owned(), outcome.to_owned())).copied().unwrap_or(0)
    }

    /// Whether these are all of them.
    fn are(&self, expected: &[(&str, &str, usize)]) -> bool {
        let all: usize = self.0.values().sum();
        expected.iter().map(|(_, _, count)| count).sum::<usize>() == all
            && expected.iter().all(|(order, outcome, count)| self.count(order, outcome) == *count)
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|((order, outcome), count)| format!("{count} {order}: {outcome}"));
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

/// Processes that wait for a word to start.
struct Race {
    home: Home,
    workers: Vec<Worker>,
    total: Outcomes,
    wrong: Vec<String>,
}

impl Race {
    fn new(processes: usize, store: &str) -> Self {
        let home = Home::new();
        let mut workers: Vec<_> =
            (0..processes).map(|_| Worker::start(worker_that_does_as_it_is_told, &home.path(""))).collect();
        workers.iter_mut().for_each(|worker| worker.order(store));
        Race { home, workers, total: Outcomes(BTreeMap::new()), wrong: Vec::new() }
    }

    /// Has the first processes do the first thing, the others the second, all at once, and holds the outcomes against
    /// what may be.
    fn round(&mut self, volume: &str, orders: [(&str, usize); 2], may_be: impl FnOnce(&Outcomes) -> bool) {
        let given = orders.iter().flat_map(|(order, count)| std::iter::repeat_n(*order, *count));
        let given: Vec<_> = given.collect();
        for (worker, order) in self.workers.iter_mut().zip(&given) {
            worker.order(&format!("{order} {volume}"));
        }
        let mut outcomes = Outcomes(BTreeMap::new());
        for (worker, order) in self.workers.iter_mut().zip(&given) {
            let outcome = ((*order).to_owned(), worker.answer().unwrap());
            *self.total.0.entry(outcome.clone()).or_default() += 1;
            *outcomes.0.entry(outcome).or_default() += 1;
        }
        if !may_be(&outcomes) {
            self.wrong.push(format!("{volume}: {outcomes}"));
        }
    }

    fn all(&mut self, volume: &str, order: &str, may_be: impl FnOnce(&Outcomes) -> bool) {
        self.round(volume, [(order, self.workers.len()), ("", 0)], may_be);
    }

    fn one_wins(&mut self, volume: &str, order: &str, losers: &str) {
        let others = self.workers.len() - 1;
        self.all(volume, order, |outcomes| outcomes.are(&[(order, "ok", 1), (order, losers, others)]));
    }

    fn create(&mut self, volume: &str, order: &str) {
        self.one_wins(volume, order, CREATED);
        if !self.home.path(&format!("volumes/{volume}")).is_dir() {
            self.wrong.push(format!("{volume} was created and is not there"));
        }
    }

    fn remove(&mut self, volume: &str) {
        self.one_wins(volume, "remove", GONE);
        if self.home.path(&format!("volumes/{volume}")).exists() {
            self.wrong.push(format!("{volume} was removed and is there"));
        }
    }

    /// Half of them attach what the others remove. Either one removal comes first and none attaches, or attaching comes
    /// first and none removes. If only one may attach, the others are refused in either case.
    fn attach_and_remove(&mut self, volume: &str, most_attached: usize) {
        let attaching = self.workers.len() / 2;
        let removing = self.workers.len() - attaching;
        let mut is_removed = false;
        self.round(volume, [("attach", attaching), ("remove", removing)], |outcomes| {
            let attached = attaching.min(most_attached);
            is_removed = outcomes.count("remove", "ok") == 1;
            match is_removed {
                true => outcomes.are(&[
                    ("attach", GONE, attaching),
                    ("remove", "ok", 1),
                    ("remove", GONE, removing - 1),
                ]),
                false => outcomes.are(&[
                    ("attach", "ok", attached),
                    ("attach", IN_USE, attaching - attached),
                    ("remove", IN_USE, removing),
                ]),
            }
        });
        self.all(volume, "detach", |outcomes| outcomes.0.keys().all(|(_, outcome)| outcome == "ok"));
        if !is_removed {
            self.remove(volume);
        }
    }

    /// Half of them write a disk and the others read it: one writer, or all the readers.
    fn write_and_read(&mut self, volume: &str) {
        let writing = self.workers.len() / 2;
        let reading = self.workers.len() - writing;
        self.round(volume, [("attach", writing), ("attach-readonly", reading)], |outcomes| {
            outcomes.are(&[
                ("attach", "ok", 1),
                ("attach", IN_USE, writing - 1),
                ("attach-readonly", IN_USE, reading),
            ]) || outcomes.are(&[("attach", IN_USE, writing), ("attach-readonly", "ok", reading)])
        });
        self.all(volume, "detach", |outcomes| outcomes.0.keys().all(|(_, outcome)| outcome == "ok"));
    }

    /// Half of them create and remove it in turn, the others look at it and at all.
    fn look(&mut self, volume: &str) {
        let looking = self.workers.len() / 2;
        self.round(volume, [("look", looking), ("churn", self.workers.len() - looking)], |outcomes| {
            outcomes.0.keys().all(|(_, outcome)| outcome == "ok")
        });
        self.all(volume, "remove", |outcomes| outcomes.count("remove", "ok") <= 1);
    }
}

fn race(processes: usize, rounds: u32) {
    let mut race = Race::new(processes, "real");
    for round in 0..rounds {
        let volume = ["a", "b"][round as usize % 2];
        race.create(volume, "create");
        race.remove(volume);
        race.create(volume, "create");
        race.attach_and_remove(volume, processes);
        race.create("disk", "create-disk");
        race.write_and_read("disk");
        race.attach_and_remove("disk", 1);
        race.look(volume);
        assert!(race.wrong.is_empty(), "round {round}: {:?}", race.wrong);
    }
    report(format_args!("{rounds} rounds of {processes} processes: {}", race.total));
    // Which of them comes first is up to the scheduler.
    for order in ["attach", "remove"].into_iter().filter(|order| race.total.count(order, "ok") == 0) {
        report(format_args!("{order} never came first"));
    }
}

#[test]
fn cases_29_and_30_of_two_processes_at_one_name_one_wins() {
    race(2, 200);
}

#[test]
fn cases_29_and_30_of_eight_processes_at_one_name_one_wins() {
    race(8, 200);
}

#[test]
fn a_store_that_looks_before_it_creates_does_not_have_one_winner() {
    in_read_only_namespace(|| {
        const MOST: u32 = 2000;
        let mut race = Race::new(8, "faulty");
        let found = (1..=MOST).find(|_| {
            race.create("data", "create");
            race.remove("data");
            !race.wrong.is_empty()
        });
        report(format_args!("found out in round {found:?}: {:?}", race.wrong));
        assert!(found.is_some(), "{MOST} rounds showed nothing, so the rounds above show nothing");
    });
}

/// Obeys orders, and answers `ok` or the error's code.
#[test]
#[ignore = "a worker that another test starts as a second process"]
fn worker_that_does_as_it_is_told() {
    let Some(home) = worker::home() else { return };
    let mut orders = worker::orders();
    let is_real = orders.next().as_deref() == Some("real");
    let store = Store::open(&home, Durability::Fast).unwrap();
    let mut attached = None;
    for order in orders {
        let (verb, volume) = order.split_once(' ').unwrap();
        let outcome = match is_real {
            true => obey(&store, verb, volume, &mut attached).map_err(|error| match error.code() {
                code if code.starts_with("ERR_VOLUME") => code,
                code => format!("{code} {error}"),
            }),
            false => faulty::obey(&home, verb, volume).map_err(str::to_owned),
        };
        worker::say(outcome.map_or_else(|error| error, |()| "ok".to_owned()));
    }
}

fn obey(store: &Store, verb: &str, volume: &str, attached: &mut Option<i64>) -> Result<(), Error> {
    let cancel = CancelToken::default;
    let options = match verb {
        "create-disk" => json!({ "kind": "disk", "sizeMib": 8 }),
        _ => json!({}),
    };
    let spec = VolumeSpec::from_options(&[options.into()])?;
    match verb {
        "create" | "create-disk" => store.create(&name(volume), &spec, &cancel()).map(drop),
        "remove" => store.remove(&name(volume), &cancel()),
        "attach" | "attach-readonly" => {
            let options = json!({ "readonly": verb == "attach-readonly" }).into();
            let mount = MountConfig::named(&OptionValue::Text(volume.to_owned()), &options)?;
            let held = store.attach(
                "sandbox",
                &validate_and_order(vec![("/data".to_owned(), mount)])?,
                None,
                &cancel(),
            )?;
            *attached = Some(held.id);
            Ok(())
        }
        "detach" => attached.take().map_or(Ok(()), |held| store.detach(held)),
        "look" => look(store, volume),
        "churn" => {
            for _ in 0..3 {
                lost_to_another(store.create(&name(volume), &spec, &cancel()).map(drop), CREATED)?;
                lost_to_another(store.remove(&name(volume), &cancel()), GONE)?;
            }
            Ok(())
        }
        _ => panic!("{verb} is no order"),
    }
}

/// What is listed has its directory as long as it is listed.
fn look(store: &Store, volume: &str) -> Result<(), Error> {
    let cancel = CancelToken::default;
    for _ in 0..10 {
        lost_to_another(store.get(&name(volume), &cancel()).map(drop), GONE)?;
        for listed in store.list(&Labels::default(), &cancel())? {
            let again = || store.list(&Labels::default(), &cancel());
            if !Path::new(&listed.path).is_dir()
                && again()?.iter().any(|other| other.record.id == listed.record.id)
            {
                panic!("{volume} is listed without its directory");
            }
        }
    }
    Ok(())
}

fn lost_to_another(outcome: Result<(), Error>, code: &str) -> Result<(), Error> {
    match outcome {
        Err(error) if error.code() == code => Ok(()),
        outcome => outcome,
    }
}
