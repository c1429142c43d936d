//! Checks everything while no worker runs: what was acknowledged is there, and nothing else.

use super::environment::{Environment, KEPT, OWN, POOL, WITH_QUOTA, kind_of, name, own_volume, spec_of};
use super::expected_state::{At, ExpectedState};
use super::findings::findings_of;
use rusqlite::Connection;
use sandbox_volumes::model::Labels;
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What the catalog of a home without living workers answers.
const SETTLED: [(&str, &str); 4] = [
    ("PRAGMA integrity_check", "ok"),
    ("SELECT count(*) || '' FROM pragma_foreign_key_check", "0"),
    ("SELECT count(*) || '' FROM intent", "0"),
    ("SELECT count(*) || '' FROM attachment", "0"),
];

/// Opens the home as the next process does, and returns what is wrong. No worker runs.
pub fn audit(environment: &Environment, expected_states: &mut [ExpectedState]) -> Vec<String> {
    let store = match Store::open(&environment.home(), Durability::Full) {
        Ok(store) => store,
        Err(error) => return vec![format!("the home does not open: {error}")],
    };
    let mut wrong = findings_of(|| environment.touched());
    wrong.extend(findings_of(|| left_over(environment)));
    wrong.extend(findings_of(|| audit_catalog(environment)));
    wrong.extend(findings_of(|| audit_account(environment, &store)));
    wrong.extend(findings_of(|| audit_volumes(environment, &store, expected_states)));
    for (slot, expected_state) in expected_states.iter_mut().enumerate() {
        wrong.extend(findings_of(|| verify_files(environment, expected_state, true)));
        wrong.extend(findings_of(|| unexpected_files(environment, slot, expected_state)));
    }
    wrong
}

/// Leftovers of operations that no process finished or undid.
fn left_over(environment: &Environment) -> Vec<String> {
    let held = [".staging", ".trash"].map(|dir| (dir, names(&environment.volume(dir))));
    let left = held.into_iter().filter(|(_, left)| !left.is_empty());
    left.map(|(dir, left)| format!("{dir} holds {left:?}")).collect()
}

fn audit_catalog(environment: &Environment) -> Vec<String> {
    let catalog = Connection::open(environment.home().join("db/volumes.db")).unwrap();
    let mut wrong = Vec::new();
    for (question, expected) in SETTLED {
        match catalog.query_row(question, (), |row| row.get::<_, String>(0)) {
            Ok(answer) if answer == expected => {}
            outcome => wrong.push(format!("{question}: {outcome:?}")),
        }
    }
    wrong
}

fn names(dir: &Path) -> BTreeSet<String> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Listed means whole, and whole means listed; every name can be used.
fn audit_volumes(
    environment: &Environment,
    store: &Store,
    expected_states: &mut [ExpectedState],
) -> Vec<String> {
    let mut wrong = Vec::new();
    let listed: BTreeSet<_> = match store.list(&Labels::default(), &CancelToken::default()) {
        Ok(volumes) => volumes.into_iter().map(|volume| volume.record.name.to_string()).collect(),
        Err(error) => return vec![format!("the volumes cannot be listed: {error}")],
    };
    let mut standing = names(&environment.volume(""));
    standing.retain(|entry| !entry.starts_with('.'));
    if listed != standing {
        wrong.push(format!("listed are {listed:?}, and {standing:?} stand there"));
    }
    for (slot, expected_state) in expected_states.iter_mut().enumerate() {
        for volume in (0..OWN.len()).map(|at| own_volume(slot, at)) {
            let (may_be, may_be_missing) =
                expected_state.volumes.get(&volume).copied().unwrap_or((false, true));
            let is_listed = listed.contains(&volume);
            if !(if is_listed { may_be } else { may_be_missing }) {
                wrong.push(format!("{volume} is {}", if is_listed { "listed" } else { "lost" }));
            }
            expected_state.volumes.insert(volume, (is_listed, !is_listed));
        }
    }
    let own = (0..expected_states.len()).flat_map(|slot| (0..OWN.len()).map(move |at| own_volume(slot, at)));
    for volume in own.chain(POOL.into_iter().map(|(name, _)| name.to_owned())) {
        let kind = kind_of(&volume);
        if listed.contains(&volume) {
            wrong.extend(judge_disk(&environment.volume(&volume), kind));
            continue;
        }
        let made = store.create(&name(&volume), &spec_of(kind), &CancelToken::default());
        if let Err(error) = made.and_then(|_| store.remove(&name(&volume), &CancelToken::default())) {
            wrong.push(format!("{volume} cannot be used: {error}"));
        }
    }
    wrong
}

/// What the judges that are installed say of a disk volume's image.
fn judge_disk(dir: &Path, kind: &str) -> Option<String> {
    let (tool, argument, image) = match kind {
        "raw" => ("e2fsck", "-fn", "disk.raw"),
        "qcow2" => ("qemu-img", "check", "disk.qcow2"),
        _ => return None,
    };
    if !dir.join(image).is_file() {
        return Some(format!("{dir:?} is without its image"));
    }
    let judged = Command::new(tool).arg(argument).arg(dir.join(image)).output().ok()?;
    (!judged.status.success()).then(|| format!("{tool}: {}", String::from_utf8_lossy(&judged.stdout)))
}

/// The account of a volume with a quota is never below what the volume takes.
fn audit_account(environment: &Environment, store: &Store) -> Option<String> {
    let account = fs::read(environment.volume(".locks").join(format!("{WITH_QUOTA}~quota.lock"))).ok()?;
    let word = |at: usize| Some(u64::from_le_bytes(account.get(at * 8..at * 8 + 8)?.try_into().ok()?));
    let (used, charged) = (word(9)?, word(10)?);
    match store.get(&name(WITH_QUOTA), &CancelToken::default()) {
        Ok(volume) if used + charged >= volume.used_bytes => None,
        outcome => Some(format!("the account says {used} + {charged} bytes of {outcome:?}")),
    }
}

/// Holds a worker's files against what it acknowledged: all of them, or those of which that leaves a doubt.
pub fn verify_files(environment: &Environment, expected_state: &mut ExpectedState, all: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let read = |at: &At| fs::read(environment.volume(&at.0).join(&at.1)).ok();
    if let Some(places) = expected_state.take_renamed() {
        let (from, to) = (read(&places.0), read(&places.1));
        wrong.extend(expected_state.verify_renamed(places, (from.as_deref(), to.as_deref())).err());
    }
    for at in expected_state.places(all) {
        wrong.extend(expected_state.verify(&at, read(&at).as_deref()).err());
    }
    wrong
}

/// Files below a worker's own directories that it never wrote.
fn unexpected_files(environment: &Environment, slot: usize, expected_state: &ExpectedState) -> Vec<String> {
    let known: BTreeSet<At> = expected_state.places(true).into_iter().collect();
    let mut wrong = Vec::new();
    for volume in KEPT {
        let own = format!("w{slot}");
        let root = environment.volume(volume);
        let directories = if root.join(&own).exists() { names(&root.join(&own)) } else { BTreeSet::new() };
        for directory in directories {
            for file in names(&root.join(&own).join(&directory)) {
                let at = (volume.to_owned(), format!("{own}/{directory}/{file}"));
                if !known.contains(&at) {
                    wrong.push(format!("nobody wrote {}/{}", at.0, at.1));
                }
            }
        }
    }
    wrong
}
