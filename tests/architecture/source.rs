//! Rust source as far as the checks need it: code without comments, and the strings in it, line by line.

/// One line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// The code, its strings empty, its comments gone.
    pub code: String,
    /// The strings that begin on this line, as written between their quotes.
    pub strings: Vec<String>,
}

/// Splits a source file into lines.
pub fn lines(text: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let line = lines.last_mut().unwrap();
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some((content, length)) = string(rest, line.code.chars().last()) {
            line.code.push_str("\"\"");
            line.strings.push(content.to_owned());
            length
        } else if first == '\'' {
            let length = character(rest).unwrap_or(1);
            line.code.push('\'');
            length
        } else {
            if first != '\n' {
                line.code.push(first);
            }
            first.len_utf8()
        };
        let (token, behind) = rest.split_at(length);
        lines.extend(token.matches('\n').map(|_| Line::default()));
        rest = behind;
    }
    lines
}

/// The content and whole length of a string that `text` begins with.
fn string(text: &str, before: Option<char>) -> Option<(&str, usize)> {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if let Some(raw) = text.strip_prefix('r').filter(|_| !in_word) {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let close = format!("\"{}", "#".repeat(hashes));
        let content = raw[hashes..].strip_prefix('"')?;
        let end = content.find(&close)?;
        return Some((&content[..end], 1 + hashes + 1 + end + close.len()));
    }
    let content = text.strip_prefix('"')?;
    let mut escaped = false;
    let end = content.find(|c| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes
    })?;
    Some((&content[..end], end + 2))
}

/// The length of a character literal that `text` begins with; a lifetime is none.
fn character(text: &str) -> Option<usize> {
    let content = text.strip_prefix('\'')?;
    match content.strip_prefix('\\') {
        Some(escape) => escape.get(1..)?.find('\'').map(|end| end + 4),
        None => content
            .chars()
            .next()
            .map(char::len_utf8)
            .filter(|l| content[*l..].starts_with('\''))
            .map(|l| l + 2),
    }
}

/// The places of a word in code: not of a part of a longer one.
pub fn has_word(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(part_of_word) && !code[at + word.len()..].starts_with(part_of_word)
    })
}

#[test]
fn comments_strings_and_characters_are_told_apart() {
    let text =
        "a(\"x // \\\" y\", '\"', '\\'', 'b'); // \"no\"\n/* no\n\"no\" */ b<'a>(r#\"raw \" x\"#, r\"q\")\n";
    let lines = lines(text);
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0].strings, ["x // \\\" y"]);
    assert_eq!(lines[0].code.trim(), "a(\"\", ', ', ');");
    assert_eq!(lines[1], Line::default());
    assert_eq!(lines[2].strings, ["raw \" x", "q"]);
    assert_eq!(lines[2].code.trim(), "b<'a>(\"\", \"\")");
}

#[test]
fn a_string_over_several_lines_belongs_to_its_first() {
    let lines = lines("f(\"one \\\n two\");\ng(\"three\")");
    assert_eq!(lines[0].strings, ["one \\\n two"]);
    assert_eq!(lines[1].code, ");");
    assert_eq!(lines[2].strings, ["three"]);
}

#[test]
fn a_word_is_whole() {
    assert!(has_word("unsafe { x }", "unsafe") && has_word("use napi::x", "napi"));
    assert!(!has_word("forbid(unsafe_code)", "unsafe") && !has_word("sandbox_napi", "napi"));
}
