//! Random operations on random trees with links of all kinds do what they do in a model of them, and never touch
//! what is outside.
//!
//! `MODEL_SEED`, 64 hexadecimal digits, repeats a run; each prints its own. `MODEL_CASES` says how many trees are
//! tried, 1,500 by default.

mod call;
mod copying;
mod disk;
mod expected;
mod faulty;
mod generate;
mod tree;

use crate::faulty::Check;
use crate::support::child::in_child;
use crate::support::openat2;
use crate::support::read_only::in_read_only_namespace;
use crate::support::report::report;
use crate::support::snapshot::Snapshot;
use call::{Call, METHODS, Start};
use copying::{is_between, place};
use disk::{Backend, Disk};
use expected::{Foreseen, Model};
use faulty::Careless;
use generate::{Case, case};
use nix::errno::Errno;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use serde_json::json;
use std::cell::Cell;
use tree::{Name, Node};

const MOST_CASES: u32 = 1500;

/// The limit of the volumes that have one.
const LIMIT: u64 = 1 << 20;
const BLOCK: u64 = 4096;

const OVER_QUOTA: &str = "ERR_QUOTA_EXCEEDED";

/// How often what happened in a run, for readers to see that all of it does.
#[derive(Default)]
struct Seen {
    given: Cell<u32>,
    refused: Cell<u32>,
    halfway: Cell<u32>,
    over_quota: Cell<u32>,
}

fn count(cell: &Cell<u32>) {
    cell.set(cell.get() + 1);
}

/// Makes a case's calls through `backend` and in the model.
fn check(
    disk: &Disk,
    limit: Option<u64>,
    backend: &dyn Backend,
    case: &Case,
    seen: &Seen,
) -> Result<(), TestCaseError> {
    let mut model = disk.plant(&case.tree, &case.host);
    let outside = Snapshot::of(&disk.volume.outside);
    for call in &case.calls {
        let call = &call.with_paths(|path| disk.led_outside(path));
        let before = model.clone();
        let foreseen = model.call(call);
        if matches!(foreseen, Foreseen::Unknown) {
            continue;
        }
        let used = disk.used();
        let most = most_needed(disk, &before, call);
        let given = backend.call(call);
        let found = disk.found();
        prop_assert_eq!(&Snapshot::of(&disk.volume.outside), &outside, "the outside after {:?}", call);
        let is_over = limit.is_some() && matches!(&given, Err(code) if code == OVER_QUOTA);
        if let Some(limit) = limit {
            let used_now = disk.used();
            prop_assert!(used_now <= used.max(limit), "{:?}: {} bytes used", call, used_now);
            prop_assert!(!is_over || used + most > limit, "{:?} fits: {} + {}", call, used, most);
            let made = counted_for_directories(call, &before, &model);
            let has_room = made == 0 || used + made <= limit;
            prop_assert!(given.is_err() || has_room, "{:?} does not fit: {} + {}", call, used, made);
        }
        match (&given, &foreseen) {
            (Err(_), Foreseen::Refused(_)) if is_over && !may_meet_the_quota_first(call) => {
                prop_assert!(false, "{:?}: {:?}, and not for the quota", call, foreseen);
            }
            (Err(_), _) if is_over => {
                count(&seen.over_quota);
                let may_leave = may_leave_over_quota(&before, &model, call, &found);
                prop_assert!(may_leave, "after {:?}, over the quota: {:?}\nfrom {:?}", call, found, before);
                model = found;
                continue;
            }
            (Ok(given), Foreseen::Gives(expected)) => {
                count(&seen.given);
                prop_assert_eq!(given, expected, "{:?}", call);
            }
            (Err(code), Foreseen::Refused(codes)) => {
                count(&seen.refused);
                prop_assert!(is_one_of(call, code, codes), "{:?}: {}, not {:?}", call, code, codes);
            }
            (Err(code), Foreseen::Halfway(codes)) => {
                count(&seen.halfway);
                prop_assert!(is_one_of(call, code, codes), "{:?}: {}, not {:?}", call, code, codes);
                let between = are_between(&found, &before, &model);
                prop_assert!(between, "after {:?}: {:?}\nfrom {:?}\nto {:?}", call, found, before, model);
                model = found;
                continue;
            }
            (_, Foreseen::Open) => {
                model = found;
                continue;
            }
            _ => prop_assert!(false, "{:?}: {:?}, not {:?}", call, given, foreseen),
        }
        prop_assert_eq!(&found.root, &model.root, "the volume after {:?}", call);
        prop_assert_eq!(&found.host, &model.host, "the host after {:?}", call);
    }
    Ok(())
}

fn is_one_of(call: &Call, code: &str, codes: &[&str]) -> bool {
    let is_no_file = |code: &str| call.writes_a_file() && ["EISDIR", "ENOTDIR"].contains(&code);
    codes.contains(&code) || (is_no_file(code) && codes.iter().any(|code| is_no_file(code)))
}

/// Whether room is asked for before everything else is seen that is in a call's way.
fn may_meet_the_quota_first(call: &Call) -> bool {
    matches!(call, Call::Mkdir(_) | Call::Copy(..) | Call::CopyIn(..))
}

fn are_between(found: &Model, before: &Model, after: &Model) -> bool {
    is_between(&found.root, Some(&before.root), Some(&after.root))
        && is_between(&found.host, Some(&before.host), Some(&after.host))
}

/// What a call may leave that was over the quota: nothing new, but the first chunks of a stream, and in a directory
/// that was there before some of a copied tree.
fn may_leave_over_quota(before: &Model, after: &Model, call: &Call, found: &Model) -> bool {
    match call {
        Call::WriteStream(path, chunks, start, how, finished) if !how.atomic => {
            // It is not even made where the volume is over its limit.
            let mut lengths = 0..chunks.len();
            found == before
                || lengths.any(|length| {
                    let mut model = before.clone();
                    let chunks = chunks[..length].to_vec();
                    model.call(&Call::WriteStream(path.clone(), chunks, *start, *how, *finished));
                    model == *found
                })
        }
        Call::Copy(_, to) | Call::CopyIn(_, to, _) if before.root.follow_to_dir(to).is_ok() => {
            are_between(found, before, after)
        }
        _ => found == before,
    }
}

/// The most that a call needs to be admitted, in bytes.
fn most_needed(disk: &Disk, before: &Model, call: &Call) -> u64 {
    let whole = |bytes: usize| (bytes as u64).next_multiple_of(BLOCK);
    let replaced = |names: &[Name]| disk.used_by(names);
    let at = |path: &[u8]| before.root.follow(path, true).map_or(Vec::new(), |place| place.names);
    match call {
        Call::Write(path, data, _) => whole(data.1).saturating_sub(replaced(&at(path))),
        Call::WriteStream(path, chunks, start, ..) => {
            let length = chunks.iter().map(|chunk| chunk.1).sum();
            match start {
                Start::Empty => whole(length).saturating_sub(replaced(&at(path))),
                _ => whole(length) + 2 * BLOCK,
            }
        }
        Call::Append(_, data, _) => whole(data.1) + BLOCK,
        Call::Mkdir(path) => tree::names(path).count() as u64 * BLOCK,
        Call::Copy(from, to) => match before.root.follow_to(from) {
            Ok((_, node)) => needed_by(node) - saved(node, before, to, disk),
            Err(_) => 0,
        },
        Call::CopyIn(from, to, _) => match before.host.follow_to(from) {
            Ok((_, node)) => needed_by(node) - saved(node, before, to, disk),
            Err(_) => 0,
        },
        _ => 0,
    }
}

/// What the directories are counted as that a call makes, whatever they take on this file system.
fn counted_for_directories(call: &Call, before: &Model, after: &Model) -> u64 {
    match call {
        Call::Mkdir(_) => (after.root.directories() - before.root.directories()) * BLOCK,
        _ => 0,
    }
}

/// What a file gives back that is replaced by another.
fn saved(node: &Node, before: &Model, to: &[u8], disk: &Disk) -> u64 {
    let names = place(&before.root, to, node.is_dir()).unwrap_or_default();
    match before.root.at(&names) {
        Some(Node::File(..)) => disk.used_by(&names).min(needed_by(node)),
        _ => 0,
    }
}

fn needed_by(node: &Node) -> u64 {
    match node {
        Node::Dir(_, entries) => BLOCK + entries.values().map(needed_by).sum::<u64>(),
        Node::File(_, content) => (content.len() as u64).next_multiple_of(BLOCK),
        Node::Link(target) => target.len() as u64,
    }
}

fn seed() -> [u8; 32] {
    let Ok(text) = std::env::var("MODEL_SEED") else {
        return prop::array::uniform32(any::<u8>()).new_tree(&mut TestRunner::default()).unwrap().current();
    };
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// A share of the cases that are asked for.
fn cases(share: u32) -> u32 {
    let all = std::env::var("MODEL_CASES").map_or(MOST_CASES, |text| text.parse().unwrap());
    (all / share).max(1)
}

fn run(
    config: Config,
    strategy: impl Strategy<Value = Case>,
    test: impl Fn(&Case) -> Result<(), TestCaseError>,
) -> Result<(), TestError<Case>> {
    let seed = seed();
    let hex = seed.map(|byte| format!("{byte:02x}")).concat();
    report(format_args!("{} cases, MODEL_SEED={hex}", config.cases));
    let config = Config { failure_persistence: None, ..config };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    runner.run(&strategy, |case| test(&case))
}

/// Tells what happened, of which a run of all cases has some of each.
fn report_seen(seen: &Seen, expected: [&Cell<u32>; 2]) {
    let has_each = expected.into_iter().all(|count| count.get() > 0);
    assert!(has_each || cases(1) < MOST_CASES);
    let Seen { given, refused, halfway, over_quota } = seen;
    report(format_args!(
        "{} calls done, {} refused, {} ended halfway, {} over the quota",
        given.get(),
        refused.get(),
        halfway.get(),
        over_quota.get()
    ));
}

#[test]
fn random_operations_on_random_trees_do_what_they_do_in_the_model() {
    in_child(|| {
        let (disk, seen) = (Disk::new(json!({})), Seen::default());
        let config = Config { cases: cases(1), ..Config::default() };
        let result = run(config, case(&METHODS, false), |case| check(&disk, None, &disk, case, &seen));
        result.unwrap_or_else(|error| panic!("{error}"));
        report_seen(&seen, [&seen.given, &seen.halfway]);
    });
}

#[test]
fn random_operations_on_random_trees_change_nothing_that_the_quota_refuses() {
    in_child(|| {
        let (disk, seen) = (Disk::new(json!({ "quotaMib": 1 })), Seen::default());
        let config = Config { cases: cases(6), ..Config::default() };
        let growing =
            ["write", "writeStream", "append", "mkdir", "remove", "rename", "copy", "copyIn", "read"];
        let limited = |case: &Case| check(&disk, Some(LIMIT), &disk, case, &seen);
        run(config, case(&growing, true), limited).unwrap_or_else(|error| panic!("{error}"));
        report_seen(&seen, [&seen.given, &seen.over_quota]);
    });
}

/// Whether cases of these methods tell what is done naively.
fn is_told(check_of: Check, methods: &[&'static str]) -> bool {
    let disk = Disk::new(json!({}));
    let careless = Careless::new(&disk, check_of);
    // The smallest case that tells is of no use.
    let config = Config { cases: 1000, max_shrink_iters: 0, ..Config::default() };
    let naively = |each: &Case| check(&disk, None, &careless, each, &Seen::default());
    matches!(run(config, case(methods, false), naively), Err(TestError::Fail(..)))
}

#[test]
fn naive_operations_are_told_from_the_model() {
    in_read_only_namespace(|| {
        for naive in Check::ALL {
            assert!(is_told(naive, &METHODS), "{naive:?}");
        }
    });
}

#[test]
fn each_naive_operation_is_told_from_the_model() {
    in_read_only_namespace(|| {
        for method in METHODS {
            assert!(is_told(Check::Nothing, &[method]), "{method}");
        }
    });
}

#[test]
fn case_18_random_operations_do_the_same_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["random_operations_on_random_trees"]);
}
