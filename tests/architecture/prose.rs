//! Comments, docs and type names: words that a reader would have to learn here, and names that mean two things.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Words and phrases for which plain English or the field has a better one. A trailing `*` stands for any ending.
const BANNED: [&str; 13] = [
    "anew",
    "lest",
    "mend*",
    "meanwhile",
    "none where",
    "nobody",
    "somebody",
    "told",
    "what is no",
    "whoever",
    "whomever",
    "whosoever",
    "be it",
];

/// Docs that name nothing.
const PRONOUNS: [&str; 8] = ["all", "both", "it", "one", "that", "the same", "them", "this"];

/// A file that people read, by its path from the root of the project.
pub struct Page {
    pub path: String,
    pub text: String,
}

/// The files below `places` with one of the endings. Leaves out folders that are installed or cached.
pub fn pages(places: &[&str], endings: &[&str]) -> Vec<Page> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pending: Vec<PathBuf> = places.iter().map(|place| root.join(place)).collect();
    let mut pages = Vec::new();
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
            pending.extend(entries.filter(|entry| !is_foreign(entry)));
        } else if endings.iter().any(|ending| path.to_str().unwrap().ends_with(ending)) {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            pages.push(Page { path: name, text: fs::read_to_string(&path).unwrap() });
        }
    }
    pages.sort_by(|one, other| one.path.cmp(&other.path));
    pages
}

/// Returns true for `node_modules` and for what has a hidden name.
fn is_foreign(path: &Path) -> bool {
    path.file_name().unwrap().to_str().is_some_and(|name| name == "node_modules" || name.starts_with('.'))
}

/// The comments of a line of code, or a line of a page without its code.
fn prose_of(path: &str, line: &str) -> String {
    if path.ends_with(".md") {
        return line.split('`').step_by(2).collect();
    }
    let trimmed = line.trim_start();
    let is_block = trimmed.starts_with("/*") || trimmed.starts_with("* ");
    match line.find("//").filter(|at| !line[..*at].ends_with(':')) {
        _ if is_block => trimmed.to_owned(),
        Some(start) => line[start..].to_owned(),
        None => String::new(),
    }
}

fn has_phrase(prose: &str, phrase: &str) -> bool {
    let (phrase, is_stem) = phrase.strip_suffix('*').map_or((phrase, false), |stem| (stem, true));
    let in_word = |c: char| c.is_alphanumeric() || c == '_';
    prose.match_indices(phrase).any(|(at, _)| {
        !prose[..at].ends_with(in_word) && (is_stem || !prose[at + phrase.len()..].starts_with(in_word))
    })
}

/// Where comments or pages use a banned word.
pub fn banned_words(page: &Page) -> Vec<String> {
    let is_page = page.path.ends_with(".md");
    let mut in_block = false;
    let lines = page.text.lines().enumerate().filter(|(_, line)| {
        in_block ^= is_page && line.trim_start().starts_with("```");
        !in_block
    });
    let found = lines.flat_map(|(at, line)| {
        let prose = prose_of(&page.path, line).to_lowercase();
        let words = BANNED.iter().filter(move |word| has_phrase(&prose, word));
        words.map(move |word| format!("{}:{}: \"{word}\" has a plainer word", page.path, at + 1))
    });
    found.collect()
}

/// Doc comments that are only a pronoun.
pub fn empty_docs(page: &Page) -> Vec<String> {
    let lines: Vec<_> = page.text.lines().map(str::trim).collect();
    let is_doc =
        |at: Option<usize>| at.and_then(|at| lines.get(at)).is_some_and(|line| line.starts_with("///"));
    let alone = (0..lines.len())
        .filter(|at| is_doc(Some(*at)) && !is_doc(at.checked_sub(1)) && !is_doc(Some(at + 1)));
    alone
        .filter(|at| {
            let doc = lines[*at].trim_start_matches('/').trim().trim_end_matches('.').to_lowercase();
            PRONOUNS.contains(&doc.as_str())
        })
        .map(|at| format!("{}:{}: the doc names nothing", page.path, at + 1))
        .collect()
}

/// The name of a type that a line of code declares.
fn declared_type(line: &str) -> Option<&str> {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    if line.starts_with(' ') {
        return None;
    }
    let mut word = words.next()?;
    if word == "pub" {
        word = words.find(|word| !["crate", "super", "in"].contains(word))?;
    }
    ["struct", "enum", "trait", "type"].contains(&word).then(|| words.next()).flatten()
}

/// Type names that several files declare.
pub fn repeated_types(pages: &[Page]) -> Vec<String> {
    let mut declared: HashMap<&str, Vec<&str>> = HashMap::new();
    for page in pages {
        let shipped = page.text.split("#[cfg(test)]").next().unwrap();
        for name in shipped.lines().filter_map(declared_type) {
            declared.entry(name).or_default().push(&page.path);
        }
    }
    let mut repeated: Vec<_> = declared
        .into_iter()
        .filter(|(_, paths)| paths.len() > 1)
        .map(|(name, paths)| format!("{name} is declared in {}", paths.join(" and ")))
        .collect();
    repeated.sort();
    repeated
}

fn page(path: &str, text: &str) -> Page {
    Page { path: path.to_owned(), text: text.to_owned() }
}

#[test]
fn banned_words_are_seen_in_comments_and_pages_only() {
    let sees = |path: &str, text: &str| !banned_words(&page(path, text)).is_empty();
    assert!(sees("src/x.rs", "//! Opened anew."));
    assert!(sees("src/x.rs", "let a = 1; // Nobody reads it."));
    assert!(sees("types/x.d.ts", " * Mended by a repair."));
    assert!(sees("pages/x.md", "None where it fails.") && sees("pages/x.md", "`a` nobody `b`"));
    assert!(!sees("pages/x.md", "The user `nobody`.\n```sh\nsu nobody\n```\n"));
    assert!(!sees("src/x.rs", "let anew = \"https://told\";\n// A mention of toldness and renewal."));
    assert_eq!(banned_words(&page("pages/x.md", "\nanew")), ["pages/x.md:2: \"anew\" has a plainer word"]);
}

#[test]
fn docs_that_name_nothing_are_seen() {
    let sees = |text: &str| !empty_docs(&page("src/x.rs", text)).is_empty();
    assert!(sees("    /// It.\n    pub fd: OwnedFd,") && sees("/// The same.\nfn f() {}"));
    assert!(!sees("/// It.\n/// And more.\nfn f() {}") && !sees("/// The descriptor.\nfn f() {}"));
}

#[test]
fn types_of_one_name_are_seen() {
    let one = page("src/a.rs", "pub(crate) struct State {\n    type Item = u8;\n}\nenum Own {}");
    let other = page("src/b.rs", "type State = u8;\n#[cfg(test)]\nmod tests {}\nstruct Own;");
    let seen = repeated_types(&[one, other, page("src/c.rs", "impl State {}\n    type Item = u8;")]);
    assert_eq!(seen, ["State is declared in src/a.rs and src/b.rs"]);
}
