//! Kills a process at random instants, 200 times, while a process creates, writes and removes at full speed.

use crate::support::home::{Home, name};
use crate::support::report::report;
use crate::support::worker::{self, Worker};
use rusqlite::Connection;
use sandbox_volumes::model::{Labels, VolumeSpec};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use sandbox_volumes::volume_fs::WriteOptions;
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

const KILLS: u32 = 200;
const VOLUMES: [&str; 3] = ["a", "b", "c"];
/// Disk volumes, by the format of their images.
const DISKS: [(&str, &str); 2] = [("raw-disk", "raw"), ("qcow2-disk", "qcow2")];
/// A volume that no process works on.
const BYSTANDER: &str = "bystander";

/// What the worker said of a volume last.
#[derive(Debug, PartialEq)]
enum Said {
    /// Creating or removing it has begun: it may be there or not.
    Begun,
    Created,
    /// The content that was acknowledged; while the next one is being written, either.
    Wrote(Vec<String>),
    Removed,
}

#[test]
fn nothing_is_lost_or_left_over_when_a_process_is_killed_at_any_instant() {
    let home = Home::new();
    fs::write(home.create(BYSTANDER).join("file"), "untouched").unwrap();
    let mut inside = 0;
    for kill in 0..KILLS {
        let said = work_until_killed(&home.path(""));
        inside += u32::from(died_inside(&home.path("")));
        let store = Arc::new(Store::open(&home.path(""), Durability::Full).unwrap());
        check(&home, &store, &said, kill);
        assert_all_usable(&home, &store, kill);
    }
    report(format_args!("{KILLS} kills, of which {inside} landed inside a creation, a write or a removal"));
    assert!(inside > 0, "no kill landed inside an operation, so nothing was tested");
}

/// Runs a worker and kills it after a random number of answers and a random moment more.
fn work_until_killed(home: &Path) -> HashMap<String, Said> {
    let mut worker = Worker::start(worker_that_creates_writes_and_removes, home);
    worker.order("go");
    let mut said = HashMap::new();
    for _ in 0..1 + random(40) {
        hear(&worker.answer().unwrap(), &mut said);
    }
    (0..random(300_000)).for_each(|_| std::hint::spin_loop());
    worker.process.kill().unwrap();
    while let Some(answer) = worker.answer() {
        hear(&answer, &mut said);
    }
    worker.process.wait().unwrap();
    said
}

fn hear(answer: &str, said: &mut HashMap<String, Said>) {
    let words: Vec<_> = answer.split(' ').collect();
    let [verb, volume, ..] = words[..] else { panic!("{answer}") };
    let content = || words[2].to_owned();
    let now = match (verb, said.remove(volume)) {
        ("creating" | "removing", _) => Said::Begun,
        ("created", _) => Said::Created,
        ("writing", Some(Said::Wrote(earlier))) => Said::Wrote([earlier, vec![content()]].concat()),
        ("writing", _) => Said::Created,
        ("wrote", _) => Said::Wrote(vec![content()]),
        ("removed", _) => Said::Removed,
        _ => panic!("{answer}"),
    };
    said.insert(volume.to_owned(), now);
}

/// Whether the catalog or the working directories show an operation that was not finished. Looks at a copy of
/// the catalog, for opening it would change what the store finds.
fn died_inside(home: &Path) -> bool {
    let copy = tempfile::tempdir().unwrap();
    for file in ["volumes.db", "volumes.db-wal"] {
        if home.join("db").join(file).exists() {
            fs::copy(home.join("db").join(file), copy.path().join(file)).unwrap();
        }
    }
    let catalog = Connection::open(copy.path().join("volumes.db")).unwrap();
    let intents: i64 = catalog.query_row("SELECT count(*) FROM intent", (), |row| row.get(0)).unwrap();
    intents > 0 || leftovers(home) > 0
}

fn leftovers(home: &Path) -> usize {
    let count = |below: &str| fs::read_dir(home.join(below)).unwrap().count();
    count("volumes/.staging") + count("volumes/.trash")
}

fn check(home: &Home, store: &Store, said: &HashMap<String, Said>, kill: u32) {
    assert_eq!(leftovers(&home.path("")), 0, "kill {kill}");
    let volumes = store.list(&Labels::default(), &CancelToken::default()).unwrap();
    let listed: Vec<_> = volumes.iter().map(|volume| volume.record.name.as_str()).collect();
    let standing = fs::read_dir(home.path("volumes")).unwrap();
    let mut standing: Vec<_> = standing.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    standing.retain(|entry| !entry.starts_with('.'));
    assert_eq!(sorted(listed.clone()), sorted(standing.iter().map(String::as_str).collect()), "kill {kill}");

    for (volume, said) in said {
        let is_listed = listed.contains(&volume.as_str());
        let content = fs::read_to_string(home.path("volumes").join(volume).join("file")).ok();
        if is_listed && let Some((_, format)) = DISKS.iter().find(|(name, _)| name == volume) {
            assert_sound_disk(&home.path("volumes").join(volume).join(format!("disk.{format}")), format);
        }
        match said {
            Said::Begun => {}
            Said::Created => assert!(is_listed, "kill {kill}: {volume} was lost"),
            Said::Removed => assert!(!is_listed, "kill {kill}: {volume} came back"),
            Said::Wrote(allowed) => {
                let content = content.unwrap_or_default();
                assert!(allowed.contains(&content), "kill {kill}: {volume} holds {content:?} of {allowed:?}");
            }
        }
    }
    assert_eq!(fs::read_to_string(home.path("volumes").join(BYSTANDER).join("file")).unwrap(), "untouched");
    let catalog = Connection::open(home.path("db/volumes.db")).unwrap();
    let check: String = catalog.query_row("PRAGMA integrity_check", (), |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "kill {kill}");
}

/// Every name can be created where it is not listed, written, read and removed.
fn assert_all_usable(home: &Home, store: &Arc<Store>, kill: u32) {
    let cancel = CancelToken::default;
    for (volume, format) in DISKS {
        if store.get(&name(volume), &cancel()).is_err() {
            store.create(&name(volume), &disk(format), &cancel()).unwrap();
        }
        store.remove(&name(volume), &cancel()).unwrap();
    }
    for volume in VOLUMES {
        if store.get(&name(volume), &cancel()).is_err() {
            store.create(&name(volume), &VolumeSpec::from_options(&[]).unwrap(), &cancel()).unwrap();
        }
        let path = home.path("volumes").join(volume).join("after");
        store.files(&name(volume)).write("after", b"x", WriteOptions::default(), &cancel()).unwrap();
        assert_eq!(fs::read_to_string(path).unwrap(), "x", "kill {kill}");
        store.remove(&name(volume), &cancel()).unwrap();
    }
}

fn disk(format: &str) -> VolumeSpec {
    VolumeSpec::from_options(&[json!({ "kind": "disk", "sizeMib": 8, "format": format }).into()]).unwrap()
}

/// An image that is listed is whole, as far as the judges that are installed can tell.
fn assert_sound_disk(image: &Path, format: &str) {
    let (tool, arguments) = match format {
        "raw" => ("e2fsck", "-fn"),
        _ => ("qemu-img", "check"),
    };
    if let Ok(judged) = Command::new(tool).arg(arguments).arg(image).output() {
        assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    }
    assert!(image.is_file());
}

fn sorted(mut names: Vec<&str>) -> Vec<&str> {
    names.sort_unstable();
    names
}

fn random(below: u64) -> u64 {
    RandomState::new().hash_one(()) % below
}

#[test]
#[ignore = "a worker that another test starts as a second process"]
fn worker_that_creates_writes_and_removes() {
    let Some(home) = worker::home() else { return };
    let store = Arc::new(Store::open(&home, Durability::Full).unwrap());
    let spec = VolumeSpec::from_options(&[]).unwrap();
    let cancel = CancelToken::default;
    let atomic = WriteOptions { atomic: true, durable: true, mode: None };
    let order = worker::orders().next();
    assert_eq!(order.as_deref(), Some("go"));
    for (round, volume) in (0u64..).zip(VOLUMES.into_iter().cycle()) {
        worker::say(format!("creating {volume}"));
        store.create(&name(volume), &spec, &cancel()).unwrap();
        worker::say(format!("created {volume}"));
        for content in [format!("first-{round}"), format!("second-{round}")] {
            worker::say(format!("writing {volume} {content}"));
            store.files(&name(volume)).write("file", content.as_bytes(), atomic, &cancel()).unwrap();
            worker::say(format!("wrote {volume} {content}"));
        }
        // Two volumes stand at any time, so that there is something to lose.
        let oldest = VOLUMES[(round as usize + 1) % VOLUMES.len()];
        if round >= 2 {
            worker::say(format!("removing {oldest}"));
            store.remove(&name(oldest), &cancel()).unwrap();
            worker::say(format!("removed {oldest}"));
        }
        let (volume, format) = DISKS[(round / 2) as usize % DISKS.len()];
        let (began, done) = if round % 2 == 0 { ("creating", "created") } else { ("removing", "removed") };
        worker::say(format!("{began} {volume}"));
        match round % 2 {
            0 => drop(store.create(&name(volume), &disk(format), &cancel()).unwrap()),
            _ => store.remove(&name(volume), &cancel()).unwrap(),
        }
        worker::say(format!("{done} {volume}"));
    }
}
