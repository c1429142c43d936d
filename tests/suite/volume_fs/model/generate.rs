//! Random trees and random calls.

use super::call::{Call, Data, How, Start, Transfer};
use super::tree::{Name, Node};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::fmt;

pub enum Planted {
    Dir(u32),
    File(u32, Data),
    Link(Vec<u8>),
}

impl fmt::Debug for Planted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Planted::Dir(mode) => write!(out, "/ {mode:o}"),
            Planted::File(mode, data) => write!(out, " {mode:o} {data:?}"),
            Planted::Link(target) => write!(out, " -> {}", target.escape_ascii()),
        }
    }
}

/// Entries by their names from the top.
pub type Trees = Vec<(Vec<Name>, Planted)>;

/// What stands at first, and what is done then.
pub struct Case {
    /// Made in this order where the directory that holds it is there and the name is free.
    pub tree: Trees,
    /// The same for the directory of the host.
    pub host: Trees,
    pub calls: Vec<Call>,
}

impl fmt::Debug for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, tree) in [("the volume", &self.tree), ("the host", &self.host)] {
            writeln!(out, "\n{title}:")?;
            for (names, planted) in tree {
                writeln!(out, "  {}{planted:?}", names.join(&b'/').escape_ascii())?;
            }
        }
        writeln!(out, "the calls:")?;
        self.calls.iter().try_for_each(|call| writeln!(out, "  {call:?}"))
    }
}

/// Where the directories of a test are.
pub struct Places {
    pub root: Vec<u8>,
    pub outside: Vec<u8>,
}

impl Places {
    /// The tree that is there once these entries are planted.
    pub fn planted(&self, tree: &Trees) -> Node {
        let mut planted = Node::Dir(0o755, BTreeMap::new());
        for (names, what) in tree {
            let parent = planted.at(&names[..names.len() - 1]);
            if !parent.is_some_and(Node::is_dir) || planted.at(names).is_some() {
                continue;
            }
            let node = match what {
                Planted::Dir(mode) => Node::Dir(*mode, BTreeMap::new()),
                Planted::File(mode, data) => Node::File(*mode, data.bytes()),
                Planted::Link(target) => Node::Link(self.expanded(target)),
            };
            planted.put(names, node);
        }
        planted
    }

    fn expanded(&self, target: &[u8]) -> Vec<u8> {
        match target.strip_prefix(b"$OUTSIDE") {
            Some(below) => [&self.outside, below].concat(),
            None if target == b"$ROOT" => self.root.clone(),
            None => self.led_outside(target),
        }
    }

    /// Moves an absolute path below the outside: nothing here may ever lead to files of the machine.
    pub fn led_outside(&self, path: &[u8]) -> Vec<u8> {
        match path.starts_with(b"/") {
            true => [&self.outside, path].concat(),
            false => path.to_owned(),
        }
    }
}

/// Returns a runner with the seed `MODEL_SEED` (64 hexadecimal digits; random by default), and that seed.
pub fn seeded(config: Config) -> (TestRunner, String) {
    let seed: [u8; 32] = match std::env::var("MODEL_SEED") {
        Ok(text) => std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()),
        Err(_) => prop::array::uniform32(any::<u8>()).new_tree(&mut TestRunner::default()).unwrap().current(),
    };
    let hex = seed.map(|byte| format!("{byte:02x}")).concat();
    (TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed)), hex)
}

fn name() -> impl Strategy<Value = Name> {
    select(vec![b"a".to_vec(), b"b".to_vec(), b"c\xff".to_vec()])
}

/// A path as a caller gives it, or a link's target.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let odd = select(vec![b"..".to_vec(), b".".to_vec(), b"".to_vec()]);
    let component = prop_oneof![6 => name(), 1 => odd].boxed();
    let some = |most| prop::collection::vec(component.clone(), 1..most);
    let names = prop_oneof![2 => some(3), 1 => some(5)];
    let (start, end) =
        (prop_oneof![29 => Just(""), 1 => Just("/")], prop_oneof![9 => Just(""), 1 => Just("/")]);
    (start, names, end)
        .prop_map(|(start, names, end)| [start.as_bytes(), &names.join(&b'/'), end.as_bytes()].concat())
}

/// A path on the host: the directory there, or something in it.
fn host_path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 0..3).prop_map(|names| names.join(&b'/'))
}

fn target() -> impl Strategy<Value = Vec<u8>> {
    let outside =
        select(vec!["$OUTSIDE", "$OUTSIDE/file", "../../outside", "../../outside/file", "../..", "$ROOT"]);
    prop_oneof![
        6 => path().prop_filter("a link leads somewhere", |path| !path.is_empty()),
        1 => outside.prop_map(|text| text.as_bytes().to_vec()),
    ]
}

/// Bytes of a file, some no UTF-8; `large` ones are hundreds of KiB at times.
fn data(large: bool) -> impl Strategy<Value = Data> {
    let length = match large {
        true => prop_oneof![1 => 0..6usize, 1 => 4000..9000usize, 3 => 100_000..900_000usize].boxed(),
        false => (0..9usize).boxed(),
    };
    (select(vec![b'x', b'y', b'\xff']), length).prop_map(|(byte, length)| Data(byte, length))
}

fn tree(large: bool, most: usize) -> impl Strategy<Value = Trees> {
    let planted = prop_oneof![
        3 => select(vec![0o755, 0o700, 0o750, 0o1777]).prop_map(Planted::Dir),
        3 => (select(vec![0o644, 0o600, 0o755, 0o640]), data(large))
            .prop_map(|(mode, data)| Planted::File(mode, data)),
        2 => target().prop_map(Planted::Link),
    ];
    let some = |count: usize| prop::collection::vec(name(), count);
    let names = prop_oneof![3 => some(1), 3 => some(2), 2 => some(3)];
    prop::collection::vec((names, planted), 0..most)
}

fn call(method: &'static str, large: bool) -> BoxedStrategy<Call> {
    let mode = || prop::option::of(select(vec![0o600, 0o666, 0o777]));
    let how = || (any::<bool>(), mode()).prop_map(|(atomic, mode)| How { atomic, mode });
    let start = prop_oneof![Just(Start::Empty), Just(Start::End), (0..12u64).prop_map(Start::At)];
    let range = || (prop::option::of(0..10u64), prop::option::of(0..10u64));
    let without = || prop::option::of(select(vec![b"b".to_vec(), b"c\xff".to_vec()]));
    let rules = || (any::<bool>(), without()).prop_map(|(skip, without)| Transfer { skip, without });
    match method {
        "read" => path().prop_map(Call::Read).boxed(),
        "readString" => path().prop_map(Call::ReadString).boxed(),
        "readStream" => (path(), range())
            .prop_map(|(path, (start, more))| {
                Call::ReadStream(path, start, more.map(|more| start.unwrap_or(0) + more))
            })
            .boxed(),
        "writeString" => (path(), data(large), mode())
            .prop_map(|(path, Data(byte, length), mode)| {
                Call::WriteString(path, Data(byte & 0x7f, length), mode)
            })
            .boxed(),
        "write" => (path(), data(large), how()).prop_map(|(p, data, how)| Call::Write(p, data, how)).boxed(),
        "writeStream" => (path(), prop::collection::vec(data(large), 0..4), start, how(), any::<bool>())
            .prop_map(|(path, chunks, start, how, finished)| {
                let start = if how.atomic { Start::Empty } else { start };
                Call::WriteStream(path, chunks, start, how, finished)
            })
            .boxed(),
        "append" => (path(), data(large), mode()).prop_map(|(p, data, m)| Call::Append(p, data, m)).boxed(),
        "mkdir" => path().prop_map(Call::Mkdir).boxed(),
        "remove" => path().prop_map(Call::Remove).boxed(),
        "removeAll" => path().prop_map(Call::RemoveAll).boxed(),
        "exists" => path().prop_map(Call::Exists).boxed(),
        "list" => (path(), any::<bool>()).prop_map(|(path, all)| Call::List(path, all)).boxed(),
        "stat" => (path(), any::<bool>()).prop_map(|(path, follow)| Call::Stat(path, follow)).boxed(),
        "rename" => (path(), path()).prop_map(|(from, to)| Call::Rename(from, to)).boxed(),
        "copy" => (path(), path()).prop_map(|(from, to)| Call::Copy(from, to)).boxed(),
        "copyIn" => {
            (host_path(), path(), rules()).prop_map(|(host, to, rules)| Call::CopyIn(host, to, rules)).boxed()
        }
        "copyOut" => (path(), host_path(), rules())
            .prop_map(|(from, host, rules)| Call::CopyOut(from, host, rules))
            .boxed(),
        _ => panic!("no method {method}"),
    }
}

/// Cases that call these methods; of a `large` one the files may take hundreds of KiB.
pub fn case(methods: &[&'static str], large: bool) -> impl Strategy<Value = Case> + use<> {
    let calls = prop::strategy::Union::new(methods.iter().map(|method| call(method, large)));
    let parts = (tree(large, 32), tree(large, 16), prop::collection::vec(calls, 1..16));
    parts.prop_map(|(tree, host, calls)| Case { tree, host, calls })
}
