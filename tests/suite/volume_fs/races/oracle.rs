//! Runs operations while the other process swaps, and judges each by what it gave and what became of the outside.

use super::fixture::{self, Cell};
use super::operation::Operation;
use crate::faulty::{Check, FaultyVolume};
use crate::support::methods::Backend;
use crate::support::report::report;
use crate::support::swapper::Swapper;
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// What racing may make of an operation, besides meeting what is inside.
pub const ALLOWED: [&str; 5] = ["ERR_PATH_ESCAPE", "ENOENT", "ENOTDIR", "ELOOP", "EBUSY"];

/// How an operation ended that met what is inside.
pub const MET_INSIDE: &str = "inside";

/// How much longer ours are raced that have not met what is inside yet.
const UNTIL_MET: Duration = Duration::from_secs(120);

/// How much longer than asked for operations may take before they are taken to hang.
const PATIENCE: Duration = Duration::from_secs(240);

/// What one operation came to.
pub struct Outcome {
    pub operation: Operation,
    /// How often it met what is inside, and how often it was refused with which code.
    pub seen: BTreeMap<String, u64>,
    /// How it got out, or with what else it failed: the reason why it was not called again.
    pub ended_by: Option<Problem>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Problem {
    Escaped(String),
    Odd(String),
}

/// Whose operations are raced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Ours, which may have no problem at all.
    Real,
    /// Ours in a volume with a quota that has room for all of it.
    Limited,
    /// Those that are to be caught, of which it only counts that they get out.
    Faulty(Check),
}

/// Races operations of a volume at once, each for `time` or until it has a problem. A hanging one ends the test run.
pub fn race(operations: &[Operation], time: Duration, who: Who) -> Vec<Outcome> {
    let volume = fixture::volume(match who {
        Who::Limited => json!({ "quotaMib": 64 }),
        _ => json!({}),
    });
    let cells = fixture::cells(&volume, operations);
    let mut swaps: Vec<_> = cells.iter().flat_map(|cell| cell.swaps(&volume)).collect();
    swaps.dedup();
    let faulty;
    let backend: &dyn Backend = match who {
        Who::Real | Who::Limited => &volume,
        Who::Faulty(check) => {
            faulty = FaultyVolume::in_volume(&volume, check);
            &faulty
        }
    };
    let start = Instant::now();
    let swapper = Swapper::start(&swaps);
    let outcomes: Vec<Outcome> = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for (cell, operation) in cells.iter().zip(operations) {
            let sender = sender.clone();
            scope.spawn(move || sender.send(repeat(cell, *operation, time, who, backend)).unwrap());
        }
        drop(sender);
        let next = |_| match receiver.recv_timeout(time + PATIENCE) {
            Err(RecvTimeoutError::Timeout) => hanging(operations),
            outcome => outcome.unwrap(),
        };
        operations.iter().map(next).collect()
    });
    let (took, swaps) = (start.elapsed(), swapper.stop());
    assert!(swaps > 0);
    for Outcome { operation, seen, ended_by } in &outcomes {
        let (kind, method, path, count) =
            (operation.kind, operation.method, operation.path, seen.values().sum::<u64>());
        let ended_by = ended_by.as_ref().map_or(String::new(), |problem| format!(", ended by {problem:?}"));
        report(format_args!(
            "{kind:?} {method}({path:?}): {swaps} swaps, {count} operations in {took:.1?}: {seen:?}{ended_by}"
        ));
    }
    outcomes
}

/// Nothing can end a thread that hangs but the end of its process.
fn hanging(operations: &[Operation]) -> ! {
    let names: Vec<_> = operations.iter().map(|operation| (operation.method, operation.path)).collect();
    report(format_args!("one of these hangs: {names:?}"));
    std::process::abort();
}

fn repeat(cell: &Cell, operation: Operation, time: Duration, who: Who, backend: &dyn Backend) -> Outcome {
    let outside = cell.outside_entries();
    let deadline = Instant::now() + time;
    let mut outcome = Outcome { operation, seen: BTreeMap::new(), ended_by: None };
    let mut number = 0;
    let has_met = |outcome: &Outcome| matches!(who, Who::Faulty(_)) || outcome.seen.contains_key(MET_INSIDE);
    while Instant::now() < deadline || (!has_met(&outcome) && Instant::now() < deadline + UNTIL_MET) {
        number = (number + 1) % 100;
        let path = operation.path.replace('#', &number.to_string());
        let path = format!("{}/{path}", cell.name);
        let result = backend.call_between(operation.method, OsStr::new(&path), &cell.operands);
        let judged = match operation.changes() {
            true if cell.outside_entries() != outside => escaped("the outside changed"),
            true if cell.holds_outside() => escaped("something of outside came in"),
            _ => judge(operation, result),
        };
        match judged {
            Ok(verdict) => *outcome.seen.entry(verdict).or_insert(0) += 1,
            Err(problem) if !matches!(who, Who::Faulty(_)) || matches!(problem, Problem::Escaped(_)) => {
                outcome.ended_by = Some(problem);
                return outcome;
            }
            Err(_) => *outcome.seen.entry("something else".to_owned()).or_insert(0) += 1,
        }
        if operation.changes() {
            let made = operation.path.contains('#').then(|| format!("new-{number}"));
            cell.restore(made.as_deref());
        }
    }
    if cell.outside_entries() != outside {
        outcome.ended_by = Some(Problem::Escaped("the outside changed".to_owned()));
    }
    outcome
}

fn escaped(how: &str) -> Result<String, Problem> {
    Err(Problem::Escaped(how.to_owned()))
}

fn judge(
    operation: Operation,
    result: Result<serde_json::Value, crate::support::methods::Refusal>,
) -> Result<String, Problem> {
    match result {
        Ok(value) if operation.met_inside(&value) => Ok(MET_INSIDE.to_owned()),
        Ok(value) => escaped(&format!("it met what is outside: {value}")),
        Err(refusal) if ALLOWED.contains(&refusal.code.as_str()) => Ok(refusal.code),
        Err(refusal) => Err(Problem::Odd(format!("{} of {:?}", refusal.message, refusal.named))),
    }
}
