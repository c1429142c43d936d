//! The house rules of the source tree: who may use whom, what stays in which room, what is spelled once.
//!
//! Every check is a function from source text to violations, which are held against small examples as well.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test reads the source tree")]

mod prose;
mod source;
mod system;

use source::{Line, has_word, lines};
use std::fs;
use std::path::Path;

/// What each room may use, besides `error`.
const ARROWS: [(&str, &[&str]); 12] = [
    ("node", &["wire", "store", "model", "mount", "sys", "sync"]),
    ("wire", &["store", "model", "mount"]),
    ("store", &["catalog", "volume_fs", "image", "ext4", "mount", "sys", "sync", "model"]),
    ("volume_fs", &["sys", "sync", "model"]),
    ("image", &["ext4", "sys", "sync", "model"]),
    ("ext4", &["sys", "sync", "model"]),
    ("catalog", &["sys", "sync", "model"]),
    ("mount", &["model"]),
    ("model", &[]),
    ("sync", &[]),
    ("sys", &[]),
    ("error", &[]),
];

/// Words of code, and the only rooms or files in which they stand.
const CONFINED: [(&str, &[&str]); 7] = [
    ("napi", &["node"]),
    ("napi_derive", &["node"]),
    ("rusqlite", &["catalog"]),
    ("cap_std", &["volume_fs"]),
    ("imago", &["image"]),
    ("qcow2_rs", &["image"]),
    ("unsafe", &["sys", "node/runtime/dispatch.rs"]),
];

const VAGUE_NAMES: [&str; 8] = ["util", "utils", "helper", "helpers", "common", "manager", "misc", "shared"];

const MAX_LINES: usize = 400;
const MAX_FLOOR_PLAN_LINES: usize = 130;

/// A file below `src`, by its path from there.
struct Source {
    path: String,
    lines: Vec<Line>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Source { path: path.to_owned(), lines: lines(text) }
    }

    /// The first folder, or the name of a file at the top.
    fn room(&self) -> &str {
        let room = self.path.split('/').next().unwrap();
        room.strip_suffix(".rs").unwrap_or(room)
    }

    /// Lines with their numbers.
    fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(at, line)| (at + 1, line))
    }

    /// The same without the unit tests, which stand last.
    fn shipped(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.numbered().take_while(|(_, line)| line.code.trim() != "#[cfg(test)]")
    }

    fn at(&self, line: usize, problem: impl std::fmt::Display) -> String {
        format!("src/{}:{line}: {problem}", self.path)
    }
}

fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut pending = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap();
                sources.push(Source::new(name, &fs::read_to_string(&path).unwrap()));
            }
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    sources
}

fn assert_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

fn forbidden_arrows(source: &Source) -> Vec<String> {
    let room = source.room();
    if room == "lib" {
        return Vec::new();
    }
    let mut violations = Vec::new();
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
        return vec![source.at(1, format!("there is no room \"{room}\""))];
    };
    let most_supers = source.path.matches('/').count();
    for (number, line) in source.numbered() {
        for (start, _) in line.code.match_indices("crate::") {
            let used = &line.code[start + "crate::".len()..];
            let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
            if used != room && used != "error" && !allowed.contains(&used) {
                violations.push(source.at(number, format!("{room} must not use crate::{used}")));
            }
        }
        if line.code.contains(&"super::".repeat(most_supers + 1)) {
            violations.push(source.at(number, "leaves its room by super::; write crate::<room>"));
        }
    }
    violations
}

fn strayed_words(source: &Source) -> Vec<String> {
    let found = source.numbered().flat_map(|(number, line)| {
        let words = CONFINED
            .iter()
            .filter(|(word, _)| has_word(&line.code, word))
            .filter(|(_, places)| !places.contains(&source.room()) && !places.contains(&&*source.path));
        words.map(move |(word, rooms)| source.at(number, format!("{word} stays in {}", rooms.join(", "))))
    });
    found.collect()
}

fn unwieldy(source: &Source) -> Vec<String> {
    let length = source.lines.len();
    let name = source.path.rsplit('/').next().unwrap().trim_end_matches(".rs");
    let mut violations = Vec::new();
    if length > MAX_LINES {
        violations.push(source.at(length, format!("a file has at most {MAX_LINES} lines")));
    }
    if VAGUE_NAMES.contains(&name) {
        violations.push(source.at(1, "a file is named for what it does"));
    }
    violations
}

fn logic_in_floor_plan(source: &Source) -> Vec<String> {
    let length = source.lines.len();
    let logic = source.numbered().filter(|(_, line)| {
        ["fn", "struct", "enum", "impl", "trait", "macro_rules", "const", "static"]
            .iter()
            .any(|word| has_word(&line.code, word))
    });
    let mut violations: Vec<_> =
        logic.map(|(number, _)| source.at(number, "lib.rs is a floor plan, without logic")).collect();
    if length > MAX_FLOOR_PLAN_LINES {
        violations.push(source.at(length, format!("lib.rs has at most {MAX_FLOOR_PLAN_LINES} lines")));
    }
    violations
}

/// Where files are opened by name, which only an `expect` with its reason allows.
fn ambient_files(source: &Source) -> Vec<String> {
    let begins_a_word =
        |code: &str, at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let is_call = |code: &str| {
        let calls_fs = code.match_indices("fs::").any(|(at, _)| {
            let ambient = !code[..at].ends_with("cap_std::") && !code[..at].ends_with("nix::");
            begins_a_word(code, at) && ambient && code[at + 4..].starts_with(|c: char| c.is_lowercase())
        });
        let calls_file = ["File::open(", "File::create("];
        calls_fs
            || calls_file.iter().any(|call| code.match_indices(call).any(|(at, _)| begins_a_word(code, at)))
    };
    let is_import = |code: &str| code.starts_with("use ") || code.starts_with("pub use ");
    let reasoned = |line: &Line| {
        line.code.contains("expect(clippy::disallowed_methods, reason = ") && !line.strings.is_empty()
    };
    let excused = source.shipped().any(|(_, line)| reasoned(line));
    let calls = source.shipped().filter(|(_, line)| is_call(&line.code) && !is_import(&line.code));
    calls
        .filter(|_| !excused)
        .map(|(number, _)| source.at(number, "opens by name without an expect and its reason"))
        .collect()
}

/// Where each of these strings stands, whole.
fn places<'s>(sources: &'s [Source], text: &str) -> Vec<(&'s Source, usize)> {
    let all =
        sources.iter().flat_map(|source| source.shipped().map(move |(number, line)| (source, number, line)));
    all.filter(|(_, _, line)| line.strings.iter().any(|string| string == text))
        .map(|(source, number, _)| (source, number))
        .collect()
}

/// Texts that do not stand exactly once among `sources`.
fn respelled(sources: &[Source], texts: &[&str]) -> Vec<String> {
    let mut violations = Vec::new();
    for text in texts {
        let places = places(sources, text);
        match places.len() {
            0 => violations.push(format!("{text:?} stands nowhere")),
            1 => {}
            count => violations.extend(
                places.iter().map(|(s, line)| s.at(*line, format!("{text:?} stands in {count} places"))),
            ),
        }
    }
    violations
}

/// The error codes, each spelled wherever it stands.
fn error_codes(sources: &[Source]) -> Vec<&str> {
    let shipped = sources.iter().flat_map(Source::shipped);
    let mut codes: Vec<_> = shipped
        .flat_map(|(_, line)| &line.strings)
        .filter(|string| string.starts_with("ERR_"))
        .map(String::as_str)
        .collect();
    codes.sort();
    codes.dedup();
    codes
}

fn of_rooms(rooms: &[&str]) -> Vec<Source> {
    tree().into_iter().filter(|source| rooms.contains(&source.room())).collect()
}

#[test]
fn a_room_uses_only_the_rooms_it_may() {
    assert_none(tree().iter().flat_map(forbidden_arrows).collect());
}

#[test]
fn a_library_and_unsafe_code_stay_in_their_room() {
    assert_none(tree().iter().flat_map(strayed_words).collect());
}

#[test]
fn a_file_is_short_and_named_for_what_it_does() {
    assert_none(tree().iter().flat_map(unwieldy).collect());
    let places = ["tests", "index.js", "lib", "__test__", "e2e", "bench", "examples", "scripts"];
    let others = prose::pages(&places, &[".rs", ".js", ".mjs"]);
    assert!(others.len() > 200);
    let long = others.iter().filter(|page| page.text.lines().count() > MAX_LINES);
    assert_none(long.map(|page| format!("{}: a file has at most {MAX_LINES} lines", page.path)).collect());
}

#[test]
fn comments_and_pages_use_plain_words() {
    let mut code = prose::pages(&["src", "tests", "lib", "index.js", "types"], &[".rs", ".js", ".ts"]);
    // It has the words in its examples.
    code.retain(|page| page.path != "tests/architecture/prose.rs");
    let pages =
        prose::pages(&["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs"], &[".md"]);
    assert!(code.len() > 400 && pages.len() > 10);
    assert_none(code.iter().chain(&pages).flat_map(prose::banned_words).collect());
}

#[test]
fn a_doc_names_its_subject_and_a_type_has_a_name_of_its_own() {
    let (code, tests) = (prose::pages(&["src"], &[".rs"]), prose::pages(&["tests/suite"], &[".rs"]));
    assert_none(code.iter().chain(&tests).flat_map(prose::empty_docs).collect());
    assert_none(prose::repeated_types(&code));
}

#[test]
fn lib_rs_is_a_floor_plan() {
    let text = include_str!("../../src/lib.rs");
    assert_none(logic_in_floor_plan(&Source::new("lib.rs", text)));
}

#[test]
fn files_are_opened_by_name_only_with_a_reason() {
    assert_none(tree().iter().flat_map(ambient_files).collect());
}

#[test]
fn a_name_on_disk_and_an_error_code_are_spelled_once() {
    let sources = tree();
    assert_none(respelled(
        &sources,
        &[".staging", ".trash", ".ids", ".locks", "volumes.db", "disk.raw", "disk.qcow2"],
    ));
    let codes = error_codes(&sources);
    assert!(codes.len() >= 10, "{codes:?}");
    assert_none(respelled(&sources, &codes));
}

#[test]
fn an_option_is_spelled_once_where_options_are_read() {
    let sources: Vec<_> = of_rooms(&["model", "mount"])
        .into_iter()
        .filter(|source| !source.path.starts_with("mount/runtime/"))
        .collect();
    let names = sources.iter().filter(|source| source.path.ends_with("/option_names.rs"));
    let names: Vec<_> = names.flat_map(Source::shipped).flat_map(|(_, line)| &line.strings).collect();
    assert!(names.len() >= 20, "{names:?}");
    // A mount's kind names its field as well: both are this kind's name.
    let kinds = ["bind", "named", "tmpfs", "disk"];
    let names: Vec<_> = names.into_iter().map(String::as_str).filter(|name| !kinds.contains(name)).collect();
    assert_none(respelled(&sources, &names));
}

#[test]
fn a_kind_of_volume_is_spelled_once_and_a_mounts_only_with_its_field() {
    let sources = tree();
    assert_none(respelled(&sources, &["dir"]));
    let allowed = ["model/storage.rs", "mount/source.rs", "mount/option_names.rs"];
    let strays =
        places(&sources, "disk").into_iter().filter(|(source, _)| !allowed.contains(&source.path.as_str()));
    assert_none(strays.map(|(source, line)| source.at(line, "\"disk\" has its names elsewhere")).collect());
}

#[test]
fn the_checks_see_a_forbidden_arrow() {
    let sees = |path: &str, text: &str| !forbidden_arrows(&Source::new(path, text)).is_empty();
    assert!(sees("model/x.rs", "use crate::sys::Dir;"));
    assert!(sees("mount/x.rs", "fn f() { crate::volume_fs::remove_tree() }"));
    assert!(sees("node/x.rs", "use crate::volume_fs::Tree;"));
    assert!(sees("catalog/x.rs", "use crate::{model, store};"));
    assert!(sees("model/x.rs", "use super::super::sys::Dir;"));
    assert!(sees("mount/runtime/x.rs", "use super::super::super::sys::Dir;"));
    assert!(sees("closet/x.rs", ""));
    assert!(!sees("store/x.rs", "use crate::sys::Dir; use crate::error::Error; use super::layout;"));
    assert!(!sees("mount/runtime/x.rs", "use super::super::option_names;"));
    assert!(!sees("model/x.rs", "/// See [`crate::store`].\nfn f(_: &str) { \"crate::sys\" }"));
    assert_eq!(
        forbidden_arrows(&Source::new("model/x.rs", "\n\nuse crate::sys::Dir;")),
        ["src/model/x.rs:3: model must not use crate::sys"]
    );
}

#[test]
fn the_checks_see_strayed_words() {
    let sees = |path: &str, text: &str| !strayed_words(&Source::new(path, text)).is_empty();
    assert!(sees("store/x.rs", "use napi::Env;") && !sees("node/x.rs", "use napi::Env;"));
    assert!(sees("store/x.rs", "rusqlite::Connection::open(path)"));
    assert!(sees("sys/x.rs", "use cap_std::fs::Dir;") && !sees("volume_fs/x.rs", "use cap_std::fs::Dir;"));
    assert!(sees("volume_fs/x.rs", "unsafe { f() }") && !sees("sys/x.rs", "unsafe { f() }"));
    assert!(sees("node/x.rs", "unsafe { f() }") && !sees("node/runtime/dispatch.rs", "unsafe { f() }"));
    assert!(!sees("volume_fs/x.rs", "#![forbid(unsafe_code)] // unsafe\n\"unsafe\""));
}

#[test]
fn the_checks_see_length_names_logic_and_ambient_files() {
    assert_eq!(unwieldy(&Source::new("store/x.rs", &"\n".repeat(MAX_LINES))).len(), 1);
    assert!(unwieldy(&Source::new("store/x.rs", &"\n".repeat(MAX_LINES - 1))).is_empty());
    assert_eq!(unwieldy(&Source::new("store/helpers.rs", "")).len(), 1);
    assert_eq!(logic_in_floor_plan(&Source::new("lib.rs", "/// # fn main() {}\nmod a;\nfn b() {}")).len(), 1);
    let ambient = |text: &str| ambient_files(&Source::new("store/x.rs", text)).len();
    assert_eq!(ambient("fn f() { std::fs::read(path) }"), 1);
    assert_eq!(ambient("use std::fs;\nfn f() { fs::read(path); File::open(path) }"), 1);
    assert_eq!(ambient("pub use fs::acl::read;\nfn f() { TempFile::create(path) }"), 0);
    let excuse = "#[expect(clippy::disallowed_methods, reason = \"procfs\")]\n";
    assert_eq!(ambient(&format!("{excuse}fn f() {{ std::fs::read(path) }}")), 0);
    assert_eq!(
        ambient("use std::fs::File;\nfn f(file: File) {}\n#[cfg(test)]\nmod tests { fs::read(path) }"),
        0
    );
}

#[test]
fn the_checks_see_what_is_spelled_twice_or_never() {
    let sources = [
        Source::new("a/x.rs", "f(\"one\", \"two\"); // \"three\""),
        Source::new("b/x.rs", "f(\"one\");\n#[cfg(test)]\nmod tests { f(\"two\") }"),
        Source::new("c/x.rs", "f(\"ERR_B\", \"ERR_A\", \"ERR_A\")"),
    ];
    assert_eq!(
        respelled(&sources, &["one", "two", "three"]),
        [
            "src/a/x.rs:1: \"one\" stands in 2 places",
            "src/b/x.rs:1: \"one\" stands in 2 places",
            "\"three\" stands nowhere"
        ]
    );
    assert_eq!(error_codes(&sources), ["ERR_A", "ERR_B"]);
}
