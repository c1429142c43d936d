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
use copying::place;
use disk::{Backend, Disk};
use expected::{Expected, Model};
use faulty::FaultyDisk;
use generate::{Case, case, seeded};
use nix::errno::Errno;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestError};
use serde_json::json;
use std::cell::Cell;
use std::collections::BTreeMap;
use tree::{Code, Name, Node};

const MAX_CASES: u32 = 1500;

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
        let call = &call.with_paths(|path| disk.places.led_outside(path));
        let before = model.clone();
        let expectation = model.call(call);
        if matches!(expectation, Expected::Unknown) {
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
        match (&given, &expectation) {
            (Err(_), Expected::Refused(_)) if is_over && !may_meet_the_quota_first(call) => {
                prop_assert!(false, "{:?}: {:?}, and not for the quota", call, expectation);
            }
            (Err(_), _) if is_over => {
                count(&seen.over_quota);
                let may_leave = may_leave_over_quota(&before, &model, call, &found);
                prop_assert!(may_leave, "after {:?}, over the quota: {:?}\nfrom {:?}", call, found, before);
                model = found;
                continue;
            }
            (Ok(given), Expected::Gives(expected)) => {
                count(&seen.given);
                prop_assert_eq!(given, expected, "{:?}", call);
            }
            (Err(code), Expected::Refused(codes)) => {
                count(&seen.refused);
                check_code(call, code, codes)?;
            }
            (Err(code), Expected::Halfway(codes)) => {
                count(&seen.halfway);
                check_code(call, code, codes)?;
                let between = are_between(&found, &before, &model);
                prop_assert!(between, "after {:?}: {:?}\nfrom {:?}\nto {:?}", call, found, before, model);
                model = found;
                continue;
            }
            (_, Expected::Open) => {
                model = found;
                continue;
            }
            _ => prop_assert!(false, "{:?}: {:?}, not {:?}", call, given, expectation),
        }
        prop_assert_eq!(&found.root, &model.root, "the volume after {:?}", call);
        prop_assert_eq!(&found.host, &model.host, "the host after {:?}", call);
    }
    Ok(())
}

/// Holds that a call was refused with one of the errors that the model expects.
fn check_code(call: &Call, code: &str, expected: &[Code]) -> Result<(), TestCaseError> {
    let is_right = call.right_codes(expected.to_vec()).contains(&code);
    prop_assert!(is_right, "{:?}: {}, not {:?}", call, code, expected);
    Ok(())
}

/// Whether room is asked for before everything else is seen that is in a call's way.
fn may_meet_the_quota_first(call: &Call) -> bool {
    matches!(call, Call::Mkdir(_) | Call::Copy(..) | Call::CopyIn(..))
}

fn are_between(found: &Model, before: &Model, after: &Model) -> bool {
    is_between(&found.root, Some(&before.root), Some(&after.root))
        && is_between(&found.host, Some(&before.host), Some(&after.host))
}

/// Whether a tree is what a copy may leave that ended halfway: each entry as it was before, or as it is when all is
/// copied. A new directory may have its owner's rights only, and lack what was to come.
fn is_between(found: &Node, before: Option<&Node>, after: Option<&Node>) -> bool {
    if Some(found) == before || Some(found) == after {
        return true;
    }
    let (Node::Dir(mode, entries), Some(Node::Dir(mode_after, made))) = (found, after) else { return false };
    let old = match before {
        Some(Node::Dir(_, old)) => Some(old),
        None => None,
        Some(_) => return false,
    };
    let may_have = mode == mode_after || (old.is_none() && *mode == 0o700);
    let kept = old.is_none_or(|old| old.keys().all(|name| entries.contains_key(name)));
    may_have
        && kept
        && entries
            .iter()
            .all(|(name, node)| is_between(node, old.and_then(|old| old.get(name)), made.get(name)))
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
        Call::Write(path, data, _) | Call::WriteString(path, data, _) => {
            whole(data.1).saturating_sub(replaced(&at(path)))
        }
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
        Call::Mkdir(_) => (directories(&after.root) - directories(&before.root)) * BLOCK,
        _ => 0,
    }
}

/// The number of directories in a tree.
fn directories(node: &Node) -> u64 {
    let below = node.entries().into_iter().flat_map(BTreeMap::values);
    u64::from(node.is_dir()) + below.map(directories).sum::<u64>()
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

/// A share of the cases that are asked for.
fn cases(share: u32) -> u32 {
    let all = std::env::var("MODEL_CASES").map_or(MAX_CASES, |text| text.parse().unwrap());
    (all / share).max(1)
}

fn run(
    config: Config,
    strategy: impl Strategy<Value = Case>,
    test: impl Fn(&Case) -> Result<(), TestCaseError>,
) -> Result<(), TestError<Case>> {
    let cases = config.cases;
    let (mut runner, seed) = seeded(Config { failure_persistence: None, ..config });
    report(format_args!("{cases} cases, MODEL_SEED={seed}"));
    runner.run(&strategy, |case| test(&case))
}

/// Reports what happened. A run of all cases has some of each.
fn report_seen(seen: &Seen, expected: [&Cell<u32>; 2]) {
    let has_each = expected.into_iter().all(|count| count.get() > 0);
    assert!(has_each || cases(1) < MAX_CASES);
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

/// Returns whether cases of these methods catch a faulty disk.
fn is_caught(check_of: Check, methods: &[&'static str]) -> bool {
    let disk = Disk::new(json!({}));
    let faulty = FaultyDisk::new(&disk, check_of);
    // The smallest case that fails is of no use.
    let config = Config { cases: 1000, max_shrink_iters: 0, ..Config::default() };
    let caught = |each: &Case| check(&disk, None, &faulty, each, &Seen::default());
    matches!(run(config, case(methods, false), caught), Err(TestError::Fail(..)))
}

#[test]
fn the_model_catches_faulty_operations() {
    in_read_only_namespace(|| {
        for check in Check::ALL {
            assert!(is_caught(check, &METHODS), "{check:?}");
        }
    });
}

#[test]
fn the_model_catches_each_faulty_operation() {
    in_read_only_namespace(|| {
        for method in METHODS {
            assert!(is_caught(Check::Nothing, &[method]), "{method}");
        }
    });
}

#[test]
fn case_18_random_operations_do_the_same_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["random_operations_on_random_trees"]);
}
