//! Random trees and random calls.

use super::call::{Call, Data, How, Start};
use super::tree::Name;
use proptest::prelude::*;
use proptest::sample::select;
use std::fmt;

pub enum Planted {
    Dir(u32),
    File(u32, Data),
    Link(Vec<u8>),
}

impl fmt::Debug for Planted {
    fn fmt(&self, told: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Planted::Dir(mode) => write!(told, "/ {mode:o}"),
            Planted::File(mode, data) => write!(told, " {mode:o} {data:?}"),
            Planted::Link(target) => write!(told, " -> {}", target.escape_ascii()),
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
    fn fmt(&self, told: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, tree) in [("the volume", &self.tree), ("the host", &self.host)] {
            writeln!(told, "\n{title}:")?;
            for (names, planted) in tree {
                writeln!(told, "  {}{planted:?}", names.join(&b'/').escape_ascii())?;
            }
        }
        writeln!(told, "the calls:")?;
        self.calls.iter().try_for_each(|call| writeln!(told, "  {call:?}"))
    }
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
    let range = || prop_oneof![Just((0, None)), (0..10u64, prop::option::of(0..10u64))];
    match method {
        "read" => path().prop_map(Call::Read).boxed(),
        "readString" => path().prop_map(Call::ReadString).boxed(),
        "readStream" => (path(), range())
            .prop_map(|(path, (start, more))| Call::ReadStream(path, start, more.map(|more| start + more)))
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
        "copyIn" => (host_path(), path(), any::<bool>())
            .prop_map(|(host, to, skip)| Call::CopyIn(host, to, skip))
            .boxed(),
        "copyOut" => (path(), host_path(), any::<bool>())
            .prop_map(|(from, host, skip)| Call::CopyOut(from, host, skip))
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
