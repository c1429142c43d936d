//! Random operations on random trees with links of all kinds do what they do in a model of them, and never touch
//! what is outside.
//!
//! `MODEL_SEED`, 64 hexadecimal digits, repeats a run; each prints its own. `MODEL_CASES` says how many trees are
//! tried, 3,000 by default.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "support/listing.rs"]
mod listing;
#[path = "support/methods.rs"]
mod methods;
#[path = "naive/mod.rs"]
mod naive;
#[path = "support/openat2.rs"]
mod openat2;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/snapshot.rs"]
mod snapshot;
#[path = "model/tree.rs"]
mod tree;
#[path = "support/volume.rs"]
mod volume;

use methods::Backend;
use naive::{Check, Naive};
use nix::errno::Errno;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};
use report::report;
use serde_json::{Value, json};
use snapshot::Snapshot;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use tree::{Given, Model, Name, Node};
use volume::Volume;

/// Every method that the model knows.
const METHODS: [&str; 7] = ["read", "write", "writeAtomic", "mkdir", "remove", "removeAll", "exists"];

/// What every call writes.
const WRITTEN: &[u8] = b"new";

#[derive(Clone, Debug)]
enum Planted {
    Dir,
    File,
    Link(Vec<u8>),
}

#[derive(Debug)]
struct Case {
    /// Made in this order where the directory that holds it is there and the name is free.
    tree: Vec<(Vec<Name>, Planted)>,
    calls: Vec<(&'static str, Vec<u8>)>,
}

fn name() -> impl Strategy<Value = Name> {
    select(vec![b"a".to_vec(), b"b".to_vec(), b"c".to_vec(), b"d\xff".to_vec()])
}

/// A path as a caller gives it, or a link's target.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let odd = select(vec![b"..".to_vec(), b".".to_vec(), b"".to_vec()]);
    let names = prop::collection::vec(prop_oneof![4 => name(), 1 => odd], 1..5);
    let (start, end) =
        (prop_oneof![19 => Just(""), 1 => Just("/")], prop_oneof![9 => Just(""), 1 => Just("/")]);
    (start, names, end)
        .prop_map(|(start, names, end)| [start.as_bytes(), &names.join(&b'/'), end.as_bytes()].concat())
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let outside =
        select(vec!["$OUTSIDE", "$OUTSIDE/file", "../../outside", "../../outside/file", "../..", "$ROOT"]);
    prop_oneof![
        6 => path().prop_filter("a link leads somewhere", |path| !path.is_empty()),
        1 => outside.prop_map(|text| text.as_bytes().to_vec()),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    let planted =
        prop_oneof![3 => Just(Planted::Dir), 2 => Just(Planted::File), 3 => target().prop_map(Planted::Link)];
    let tree = prop::collection::vec((prop::collection::vec(name(), 1..4), planted), 0..24);
    let calls = prop::collection::vec((select(&METHODS[..]), path()), 1..16);
    (tree, calls).prop_map(|(tree, calls)| Case { tree, calls })
}

/// Empties the volume and plants a case's tree in it and in a model.
fn plant(volume: &Volume, case: &Case) -> Model {
    let root = volume.files.root();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path)).unwrap();
    }
    let mut model = Model { root: Node::empty_dir() };
    for (names, planted) in &case.tree {
        let holder = model.at(&names[..names.len() - 1]);
        if !matches!(holder, Some(Node::Dir(_))) || model.at(names).is_some() {
            continue;
        }
        let path = root.join(OsStr::from_bytes(&names.join(&b'/')));
        let node = match planted {
            Planted::Dir => {
                fs::create_dir(&path).unwrap();
                Node::empty_dir()
            }
            Planted::File => {
                fs::write(&path, "old").unwrap();
                Node::File(b"old".to_vec())
            }
            Planted::Link(target) => {
                let text = |path: &Path| path.as_os_str().as_bytes().to_vec();
                let target = match target.strip_prefix(b"$OUTSIDE") {
                    Some(below) => [text(&volume.outside), below.to_vec()].concat(),
                    None if target == b"$ROOT" => text(root),
                    None => target.clone(),
                };
                symlink(OsStr::from_bytes(&target), &path).unwrap();
                Node::Link(target)
            }
        };
        model.put(names, node);
    }
    model
}

fn found(path: &Path) -> Node {
    let metadata = fs::symlink_metadata(path).unwrap();
    if metadata.is_symlink() {
        return Node::Link(fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec());
    }
    if metadata.is_file() {
        return Node::File(fs::read(path).unwrap());
    }
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    Node::Dir(entries.map(|entry| (entry.file_name().as_bytes().to_vec(), found(&entry.path()))).collect())
}

fn as_given(value: Value) -> Given {
    match value {
        Value::String(text) => Given::Content(text.into_bytes()),
        Value::Bool(there) => Given::There(there),
        _ => Given::Nothing,
    }
}

/// A path that ends in a slash is no file to write to, which either of two errors may say.
fn is_no_file(method: &str, result: &Result<Given, String>) -> bool {
    method.starts_with("write")
        && result.as_ref().is_err_and(|code| ["EISDIR", "ENOTDIR"].contains(&code.as_str()))
}

/// Makes a case's calls through `backend` and in the model.
fn check(volume: &Volume, backend: &dyn Backend, case: &Case) -> Result<(), TestCaseError> {
    let mut model = plant(volume, case);
    let outside = Snapshot::of(&volume.outside);
    for (method, path) in &case.calls {
        let what = format!("{method}({:?})", String::from_utf8_lossy(path));
        let expected = model.call(method, path, WRITTEN).map_err(str::to_owned);
        let given = backend.call(method, OsStr::from_bytes(path)).map(as_given).map_err(|refusal| {
            assert!(!refusal.named.is_empty(), "{what}: no path in {}", refusal.message);
            refusal.code
        });
        if !(is_no_file(method, &given) && is_no_file(method, &expected)) {
            prop_assert_eq!(given, expected, "{}", what);
        }
        prop_assert_eq!(&found(volume.files.root()), &model.root, "the volume after {}", what);
        prop_assert_eq!(&Snapshot::of(&volume.outside), &outside, "the outside after {}", what);
    }
    Ok(())
}

fn seed() -> [u8; 32] {
    let Ok(text) = std::env::var("MODEL_SEED") else {
        return prop::array::uniform32(any::<u8>()).new_tree(&mut TestRunner::default()).unwrap().current();
    };
    let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
    std::array::from_fn(byte)
}

fn run(backend: impl Fn(&Volume, &Case) -> Result<(), TestCaseError>) -> Result<(), TestError<Case>> {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() {
        let _is_set_already = tempfile::env::override_temp_dir(shared_memory);
    }
    let volume = Volume::new(json!({}));
    fs::write(volume.outside.join("file"), "outside").unwrap();
    fs::create_dir(volume.outside.join("a")).unwrap();
    let seed = seed();
    let cases = std::env::var("MODEL_CASES").map_or(3000, |text| text.parse().unwrap());
    report(format_args!("{cases} cases, MODEL_SEED={}", seed.map(|byte| format!("{byte:02x}")).concat()));
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    runner.run(&case(), |case| backend(&volume, &case))
}

#[test]
fn random_operations_on_random_trees_do_what_they_do_in_the_model() {
    run(|volume, case| check(volume, volume, case)).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn naive_operations_are_told_from_the_model() {
    for naive in Check::ALL {
        let result = run(|volume, case| check(volume, &Naive::in_volume(volume, naive), case));
        assert!(matches!(result, Err(TestError::Fail(..))), "{naive:?}");
    }
}

#[test]
fn case_18_random_operations_do_the_same_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["random_operations_on_random_trees"]);
}
