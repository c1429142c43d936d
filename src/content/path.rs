//! Paths relative to a volume's root, as far as text alone can judge them.

use crate::error::{Error, Result};
use std::path::Path;

/// The longest path handed to the kernel at once; `PATH_MAX` counts the closing NUL.
const PIECE_BYTES: usize = 4095;

/// A path that is relative, free of NUL and does not climb above the root by its own `..`. Where links lead is
/// for the kernel to say.
#[derive(Clone, Debug)]
pub struct RelPath {
    given: String,
    /// Without `.` and doubled slashes; a trailing slash, which demands a directory, stays. `.` is the root.
    clean: String,
}

impl RelPath {
    pub fn parse(given: &str) -> Result<Self> {
        if given.contains('\0') {
            return Err(Error::invalid_path(given, "must not contain a NUL character"));
        }
        if given.starts_with('/') {
            return Err(Error::path_escape(given));
        }
        let mut depth = 0usize;
        for component in components(given) {
            depth = match component {
                ".." => depth.checked_sub(1).ok_or_else(|| Error::path_escape(given))?,
                _ => depth + 1,
            };
        }
        Ok(RelPath { given: given.to_owned(), clean: clean(given) })
    }

    /// The path as the caller gave it.
    pub fn as_str(&self) -> &str {
        &self.given
    }

    /// The path that a relative link found at this one leads to; none where the link is not UTF-8. Whether that is
    /// inside is for the kernel to say.
    pub fn through(&self, link: &Path) -> Option<RelPath> {
        let whole = self.clean.trim_end_matches('/');
        let slash = &self.clean[whole.len()..];
        let link = link.to_str()?;
        let text = match whole.rsplit_once('/') {
            Some((parent, _)) => clean(&format!("{parent}/{link}{slash}")),
            None => clean(&format!("{link}{slash}")),
        };
        Some(RelPath { given: self.given.clone(), clean: text })
    }

    /// Every prefix of whole components, shortest first, the whole path last.
    pub fn prefixes(&self) -> impl Iterator<Item = RelPath> + '_ {
        let whole = self.clean.trim_end_matches('/');
        let ends = whole.match_indices('/').map(|(at, _)| at).chain([whole.len()]);
        ends.map(|end| RelPath { given: self.given.clone(), clean: whole[..end].to_owned() })
    }

    /// The directory that holds the entry which this path names, the entry's name, and whether it must be a
    /// directory (a trailing slash). The root and a path that ends in `..` name no entry.
    pub fn entry(&self) -> Result<(RelPath, &str, bool)> {
        let trimmed = self.clean.trim_end_matches('/');
        let (parent, name) = trimmed.rsplit_once('/').unwrap_or((".", trimmed));
        match name {
            "." => Err(Error::invalid_path(&self.given, "is the volume's root, which stays")),
            ".." => Err(Error::invalid_path(&self.given, "ends in \"..\"; name the entry itself")),
            _ => {
                let parent = RelPath { given: self.given.clone(), clean: parent.to_owned() };
                Ok((parent, name, trimmed.len() < self.clean.len()))
            }
        }
    }

    /// The path cut between components into pieces that the kernel takes: those before the last, and the last.
    pub fn pieces(&self) -> (Vec<&Path>, &Path) {
        let mut rest = self.clean.as_str();
        let mut pieces = Vec::new();
        while rest.len() > PIECE_BYTES {
            let fitting = rest.as_bytes().iter().take(PIECE_BYTES).rposition(|byte| *byte == b'/');
            let Some(cut) = fitting.filter(|cut| cut + 1 < rest.len()) else { break };
            pieces.push(Path::new(&rest[..cut]));
            rest = &rest[cut + 1..];
        }
        (pieces, Path::new(rest))
    }
}

fn components(text: &str) -> impl Iterator<Item = &str> {
    text.split('/').filter(|component| !matches!(*component, "" | "."))
}

fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len() + 1);
    for component in components(text) {
        clean.push_str(component);
        clean.push('/');
    }
    let demands_directory = text.ends_with('/') || text.ends_with("/.");
    if clean.is_empty() {
        clean.push('.');
    } else if !demands_directory {
        clean.pop();
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn dots_and_doubled_slashes_vanish_and_a_trailing_slash_stays() {
        for (given, expected) in [
            ("", "."),
            (".", "."),
            ("./", "."),
            ("a//b/./c", "a/b/c"),
            ("a/", "a/"),
            ("a/.", "a/"),
            ("a/..", "a/.."),
        ] {
            assert_eq!(RelPath::parse(given).unwrap().clean, expected, "{given:?}");
        }
    }

    #[test]
    fn rejects_what_climbs_above_the_root_by_its_own_text() {
        for given in ["..", "a/../..", "nope/../../../x", "a/b/../../../x", "/etc/x", "//etc/x"] {
            assert_eq!(RelPath::parse(given).unwrap_err().kind(), ErrorKind::PathEscape, "{given:?}");
        }
    }

    #[test]
    fn rejects_nul() {
        assert_eq!(RelPath::parse("a\0b").unwrap_err().kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn an_overlong_path_is_cut_between_components() {
        let long = vec!["component"; 1000].join("/");
        let path = RelPath::parse(&long).unwrap();
        let (pieces, last) = path.pieces();
        assert!(pieces.len() >= 2);
        assert!(pieces.iter().all(|piece| piece.as_os_str().len() <= PIECE_BYTES));
        let joined = pieces.iter().chain([&last]).map(|p| p.to_str().unwrap()).collect::<Vec<_>>().join("/");
        assert_eq!(joined, long);
    }

    #[test]
    fn a_link_leads_on_from_the_directory_that_holds_it() {
        for (at, link, expected) in [
            ("l", "x", "x"),
            ("a/l", "x", "a/x"),
            ("a/b/l", "../x//y/", "a/b/../x/y/"),
            ("a/l/", "../../x", "a/../../x/"),
            ("a/l", ".", "a/"),
        ] {
            let leads = RelPath::parse(at).unwrap().through(Path::new(link)).unwrap().clean;
            assert_eq!(leads, expected, "{at:?} -> {link:?}");
        }
    }

    #[test]
    fn prefixes_grow_by_one_component() {
        let path = RelPath::parse("a/b//c/").unwrap();
        let prefixes: Vec<_> = path.prefixes().map(|prefix| prefix.clean).collect();
        assert_eq!(prefixes, ["a", "a/b", "a/b/c"]);
    }
}
