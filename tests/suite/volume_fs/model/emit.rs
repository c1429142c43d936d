//! Prints random cases with their expected results as JSON, a line each. The JavaScript suite replays them.
//!
//! `model-cases ROOT OUTSIDE COUNT [METHOD…]`: the directory of a volume, the directory that nothing may touch, how many
//! trees, and which methods are called; all by default. The first line has the seed, the umask and all methods.

#![expect(clippy::unwrap_used, reason = "a tool of the tests")]

mod call;
mod copying;
mod expected;
mod generate;
mod tree;

use call::{Call, Given, METHODS, Seen, Start};
use expected::{Expected, Model, UMASK};
use generate::{Case, Places, case, seeded};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::Config;
use serde_json::{Map, Value, json};
use std::io::{self, Write};
use tree::Node;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [root, outside, count, methods @ ..] = &arguments[..] else {
        panic!("see the source for its arguments")
    };
    let places = Places { root: root.clone().into_bytes(), outside: outside.clone().into_bytes() };
    let is_called = |method: &&str| methods.is_empty() || methods.iter().any(|called| called == method);
    let cases = case(&METHODS.into_iter().filter(is_called).collect::<Vec<_>>(), false);
    let (mut runner, seed) = seeded(Config::default());
    writeln!(io::stdout(), "{}", json!({ "seed": seed, "umask": UMASK, "methods": METHODS }))?;
    (0..count.parse::<u32>().unwrap())
        .try_for_each(|_| print(&places, &cases.new_tree(&mut runner).unwrap().current()))
}

/// Prints a case. A call whose result depends on more than the model ends it; those that follow begin another.
fn print(places: &Places, case: &Case) -> io::Result<()> {
    let mut model = Model { root: places.planted(&case.tree), host: places.planted(&case.host) };
    let (mut start, mut steps) = (model.clone(), Vec::new());
    for call in case.calls.iter().filter(|call| is_possible(call)) {
        let call = with_a_file(call.with_paths(|path| places.led_outside(path)));
        let before = model.clone();
        let expected = model.call(&call);
        if matches!(expected, Expected::Unknown) {
            continue;
        }
        let is_certain = matches!(expected, Expected::Gives(_) | Expected::Refused(_));
        let mut step = arguments(&call);
        step["expected"] = outcome(&call, expected, &before, &model);
        steps.push(step);
        if !is_certain {
            print_steps(&start, std::mem::take(&mut steps))?;
            start = model.clone();
        }
    }
    print_steps(&start, steps)
}

fn print_steps(start: &Model, steps: Vec<Value>) -> io::Result<()> {
    match steps.is_empty() {
        true => Ok(()),
        false => {
            let case = json!({ "volume": node(&start.root), "hostTree": node(&start.host), "steps": steps });
            writeln!(io::stdout(), "{case}")
        }
    }
}

/// Whether JavaScript can make a call: it passes paths of the host as strings.
fn is_possible(call: &Call) -> bool {
    match call {
        Call::CopyIn(host, ..) | Call::CopyOut(_, host, _) => std::str::from_utf8(host).is_ok(),
        _ => true,
    }
}

/// A stream of Node.js that writes nothing may be destroyed before its file is opened.
fn with_a_file(mut call: Call) -> Call {
    if let Call::WriteStream(_, chunks, .., is_finished) = &mut call {
        *is_finished |= chunks.is_empty();
    }
    call
}

/// The public method and its arguments.
fn arguments(call: &Call) -> Value {
    let paths: Vec<_> = call.paths().iter().map(|path| text(path)).collect();
    let mut arguments = json!({ "method": call.method(), "paths": paths });
    if let Call::Write(_, data, _) | Call::WriteString(_, data, _) | Call::Append(_, data, _) = call {
        arguments["data"] = text(&data.bytes()).into();
    }
    arguments["options"] = match call {
        Call::ReadStream(_, start, end) => set([("start", json!(start)), ("end", json!(end))]),
        Call::List(_, recursive) => json!({ "recursive": recursive }),
        Call::Stat(_, follow) => json!({ "followSymlinks": follow }),
        Call::Write(_, _, how) => set([("mode", json!(how.mode)), ("atomic", json!(how.atomic))]),
        Call::WriteString(_, _, mode) | Call::Append(_, _, mode) => set([("mode", json!(mode))]),
        Call::WriteStream(_, chunks, start, how, is_finished) => {
            arguments["chunks"] = chunks.iter().map(|chunk| text(&chunk.bytes())).collect();
            arguments["isFinished"] = json!(is_finished);
            set([
                ("mode", json!(how.mode)),
                ("atomic", how.atomic.then_some(true).into()),
                ("append", (*start == Start::End).then_some(true).into()),
                ("start", if let Start::At(at) = start { json!(at) } else { Value::Null }),
            ])
        }
        Call::CopyIn(_, _, rules) | Call::CopyOut(_, _, rules) => {
            arguments["without"] = json!(rules.without.as_ref().map(|name| text(name)));
            json!({ "links": if rules.skip { "skip" } else { "refuse" } })
        }
        _ => json!({}),
    };
    arguments
}

/// The options that are set.
fn set<const N: usize>(options: [(&str, Value); N]) -> Value {
    let set = options.into_iter().filter(|(_, value)| !value.is_null());
    set.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>().into()
}

/// What the method returns or rejects with, and the trees that it changes.
fn outcome(call: &Call, expected: Expected, before: &Model, after: &Model) -> Value {
    let mut outcome = match expected {
        Expected::Gives(Given::Copied { .. }) if matches!(call, Call::Copy(..)) => json!({}),
        Expected::Gives(Given::Nothing) => json!({}),
        Expected::Gives(given) => json!({ "value": value(call, given) }),
        Expected::Refused(codes) => json!({ "codes": call.right_codes(codes) }),
        Expected::Halfway(codes) => json!({ "codes": call.right_codes(codes), "isPartial": true }),
        Expected::Open | Expected::Unknown => json!({ "isOpen": true }),
    };
    for (name, before, after) in
        [("volume", &before.root, &after.root), ("hostTree", &before.host, &after.host)]
    {
        if before != after {
            outcome[name] = node(after);
        }
    }
    outcome
}

fn value(call: &Call, given: Given) -> Value {
    match given {
        Given::Nothing => Value::Null,
        Given::Content(content) => text(&content).into(),
        Given::There(is_there) => is_there.into(),
        Given::Seen(seen) if matches!(call, Call::Stat(..)) => {
            seen.iter().map(entry).collect::<Vec<_>>().remove(0)
        }
        Given::Seen(seen) => {
            let listed = |seen: &Seen| {
                let mut entry = entry(seen);
                entry["path"] = text(&seen.path).into();
                entry
            };
            seen.iter().map(listed).collect()
        }
        Given::Copied { files, bytes, skipped } => {
            json!({ "files": files, "bytes": bytes, "skippedLinks": skipped })
        }
    }
}

fn entry(seen: &Seen) -> Value {
    set([("kind", seen.kind.into()), ("mode", seen.mode.into()), ("size", json!(seen.size))])
}

fn node(of: &Node) -> Value {
    match of {
        Node::Dir(mode, entries) => {
            let entries: Map<_, _> = entries.iter().map(|(name, below)| (text(name), node(below))).collect();
            json!({ "mode": mode, "entries": entries })
        }
        Node::File(mode, content) => json!({ "mode": mode, "content": text(content) }),
        Node::Link(target) => json!({ "target": text(target) }),
    }
}

/// One character per byte, so that it need not be UTF-8.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
