//! Everything at once: processes work on one home, are killed at random, and are audited from outside.
//!
//! `SOAK_SECONDS` says how long, 60 by default, unless something is found wrong before, and `SOAK_SEED` repeats the
//! choices of an earlier run.

mod audit;
mod content;
mod environment;
mod expected_state;
mod faulty;
mod files;
mod findings;
mod run;
mod volumes;
mod watch;
mod work;
mod worker_slots;

use crate::support::read_only::in_read_only_namespace;
use crate::support::report::report;
use faulty::{FAULTS, NO_FAULT};
use run::{Plan, soak};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Held by each of these tests, because two of them at once would overload the machine.
static ALONE: Mutex<()> = Mutex::new(());

fn number(variable: &str) -> Option<u64> {
    Some(std::env::var(variable).ok()?.parse().unwrap())
}

fn seed() -> u64 {
    number("SOAK_SEED").unwrap_or_else(|| RandomState::new().hash_one(()))
}

#[test]
fn nothing_goes_wrong_when_everything_happens_at_once() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let seconds = Duration::from_secs(number("SOAK_SECONDS").unwrap_or(60));
    let round = Duration::from_secs(6);
    let outcome = soak(&Plan { seconds, round, seed: seed(), fault: NO_FAULT, sought: &[] });
    report(format_args!("{outcome}"));
    assert!(outcome.violations.is_empty(), "seed {}\n{}", outcome.seed, outcome.violations.join("\n"));
    assert!(outcome.operations > 0 && outcome.kills > 0, "nothing was tested");
}

/// The soak must find each fault of a worker.
#[test]
fn faulty_workers_are_noticed() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    in_read_only_namespace(|| {
        for (fault, sought) in FAULTS {
            let (seconds, round) = (Duration::from_secs(180), Duration::from_secs(2));
            let outcome = soak(&Plan { seconds, round, seed: seed(), fault, sought });
            report(format_args!("{fault}: {outcome}"));
            for sought in sought {
                let finding = outcome.violations.iter().find(|violation| violation.contains(sought));
                let (seed, others) = (outcome.seed, &outcome.violations);
                let finding = finding
                    .unwrap_or_else(|| panic!("{fault}: not {sought:?}, seed {seed}, but {others:#?}"));
                report(format_args!("{fault}: {finding}"));
            }
        }
    });
}
