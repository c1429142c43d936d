//! Paths relative to a volume's root, checked as far as their bytes allow.

use crate::error::{Error, Result};
use std::ffi::OsStr;

/// The longest path, in bytes, that the kernel takes at once; `PATH_MAX` includes the final NUL.
const MAX_PIECE_BYTES: usize = 4095;

/// A path that is relative, has no NUL and does not climb above the root by its own `..`. The kernel decides where
/// links lead. Names may be any bytes, as a guest's are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePath {
    /// The path as the caller gave it, for messages, with U+FFFD for bytes that are not UTF-8.
    shown: String,
    /// The path without `.` and doubled slashes. A trailing slash, which demands a directory, stays. `.` is the root.
    clean: Vec<u8>,
}

impl VolumePath {
    /// Parses a path.
    pub fn parse(given: impl AsRef<OsStr>) -> Result<Self> {
        Self::from_bytes(given.as_ref().as_encoded_bytes())
    }

    /// Parses a path that may have any bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let shown = String::from_utf8_lossy(bytes);
        if bytes.contains(&0) {
            return Err(Error::invalid_path(&shown, "must not contain a NUL character"));
        }
        if bytes.starts_with(b"/") {
            return Err(Error::path_escape(&shown));
        }
        let mut depth = 0usize;
        for component in components(bytes) {
            depth = match component {
                b".." => depth.checked_sub(1).ok_or_else(|| Error::path_escape(&shown))?,
                _ => depth + 1,
            };
        }
        Ok(VolumePath { clean: clean(bytes), shown: shown.into_owned() })
    }

    /// Returns the path as the caller gave it, for messages.
    pub fn as_str(&self) -> &str {
        &self.shown
    }

    /// Returns the path that a relative link at this path leads to. The kernel decides whether that is inside.
    pub fn through(&self, link: &[u8]) -> VolumePath {
        let whole = self.without_slash();
        let slash = &self.clean[whole.len()..];
        let text = match whole.iter().rposition(|byte| *byte == b'/') {
            Some(at) => [&whole[..=at], link, slash].concat(),
            None => [link, slash].concat(),
        };
        self.with(&clean(&text))
    }

    /// Returns each component, and the length of the path up to and including it.
    pub fn components(&self) -> impl Iterator<Item = (&[u8], usize)> {
        let whole = self.without_slash();
        whole.split(|byte| *byte == b'/').scan(0, |end, component| {
            let begin = *end;
            *end += component.len() + 1;
            Some((component, begin + component.len()))
        })
    }

    /// Returns the first `length` bytes of the path, which must end with a component.
    pub fn up_to(&self, length: usize) -> VolumePath {
        self.with(&self.clean[..length])
    }

    /// Returns the prefix of the paths of this directory's entries.
    pub fn entries_prefix(&self) -> Vec<u8> {
        match self.without_slash() {
            b"." => Vec::new(),
            whole => [whole, b"/"].concat(),
        }
    }

    /// Returns the path of the parent, the entry's name, and whether a trailing slash demands a directory. Fails for
    /// the root and for a path that ends in `..`, which name no entry.
    pub fn entry(&self) -> Result<(VolumePath, &[u8], bool)> {
        let whole = self.without_slash();
        let (parent, name) = match whole.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (&whole[..at], &whole[at + 1..]),
            None => (&b"."[..], whole),
        };
        match name {
            b"." => Err(Error::invalid_path(
                &self.shown,
                "is the volume's root, which cannot be removed or renamed",
            )),
            b".." => Err(Error::invalid_path(&self.shown, "ends in \"..\"; name the entry itself")),
            _ => Ok((self.with(parent), name, self.demands_directory())),
        }
    }

    /// Cuts the path between components into pieces that the kernel takes. Returns those before the last, and the last.
    pub fn pieces(&self) -> (Vec<&[u8]>, &[u8]) {
        let mut rest = &self.clean[..];
        let mut pieces = Vec::new();
        while rest.len() > MAX_PIECE_BYTES {
            let fitting = rest[..MAX_PIECE_BYTES].iter().rposition(|byte| *byte == b'/');
            let Some(cut) = fitting.filter(|cut| cut + 1 < rest.len()) else { break };
            pieces.push(&rest[..cut]);
            rest = &rest[cut + 1..];
        }
        (pieces, rest)
    }

    /// Returns whether the path ends in a slash, which demands a directory.
    pub fn demands_directory(&self) -> bool {
        self.clean.ends_with(b"/")
    }

    fn without_slash(&self) -> &[u8] {
        self.clean.strip_suffix(b"/").unwrap_or(&self.clean)
    }

    fn with(&self, clean: &[u8]) -> VolumePath {
        VolumePath { shown: self.shown.clone(), clean: clean.to_owned() }
    }
}

/// A path within a volume, or text or bytes that are parsed as one: what the functions of a volume's files take.
pub trait IntoVolumePath {
    /// Returns the parsed path.
    fn into_volume_path(self) -> Result<VolumePath>;
}

impl IntoVolumePath for VolumePath {
    fn into_volume_path(self) -> Result<VolumePath> {
        Ok(self)
    }
}

impl IntoVolumePath for &VolumePath {
    fn into_volume_path(self) -> Result<VolumePath> {
        Ok(self.clone())
    }
}

impl<T: AsRef<OsStr>> IntoVolumePath for T {
    fn into_volume_path(self) -> Result<VolumePath> {
        VolumePath::parse(self)
    }
}

fn components(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'/').filter(|component| !matches!(*component, b"" | b"."))
}

fn clean(text: &[u8]) -> Vec<u8> {
    let mut clean = Vec::with_capacity(text.len() + 1);
    for component in components(text) {
        clean.extend_from_slice(component);
        clean.push(b'/');
    }
    let demands_directory = text.ends_with(b"/") || text.ends_with(b"/.");
    if clean.is_empty() {
        clean.push(b'.');
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
            assert_eq!(VolumePath::parse(given).unwrap().clean, expected.as_bytes(), "{given:?}");
        }
    }

    #[test]
    fn rejects_what_climbs_above_the_root_by_its_own_text() {
        for given in ["..", "a/../..", "nope/../../../x", "a/b/../../../x", "/etc/x", "//etc/x"] {
            assert_eq!(VolumePath::parse(given).unwrap_err().kind(), ErrorKind::PathEscape, "{given:?}");
        }
    }

    #[test]
    fn rejects_nul() {
        assert_eq!(VolumePath::parse("a\0b").unwrap_err().kind(), ErrorKind::InvalidConfig);
    }

    #[test]
    fn an_overlong_path_is_cut_between_components() {
        let long = vec!["component"; 1000].join("/");
        let path = VolumePath::parse(&long).unwrap();
        let (pieces, last) = path.pieces();
        assert!(pieces.len() >= 2);
        assert!(pieces.iter().all(|piece| piece.len() <= MAX_PIECE_BYTES));
        let joined = pieces.into_iter().chain([last]).collect::<Vec<_>>().join(&b'/');
        assert_eq!(joined, long.as_bytes());
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
            let leads = VolumePath::parse(at).unwrap().through(link.as_bytes()).clean;
            assert_eq!(leads, expected.as_bytes(), "{at:?} -> {link:?}");
        }
    }

    #[test]
    fn a_path_grows_by_one_component() {
        let path = VolumePath::parse("a/b//cd/").unwrap();
        let grown: Vec<_> =
            path.components().map(|(name, length)| (name, path.up_to(length).clean)).collect();
        let expected = [(&b"a"[..], b"a".to_vec()), (b"b", b"a/b".to_vec()), (b"cd", b"a/b/cd".to_vec())];
        assert_eq!(grown, expected);
    }

    #[test]
    fn entries_are_below_their_directory() {
        for (given, expected) in [("", ""), ("./", ""), ("a//b/", "a/b/"), ("a/..", "a/../")] {
            assert_eq!(VolumePath::parse(given).unwrap().entries_prefix(), expected.as_bytes(), "{given:?}");
        }
    }

    #[test]
    fn names_may_be_any_bytes() {
        let path = VolumePath::from_bytes(b"a/./\xff\xfe/").unwrap();
        assert_eq!((&path.clean[..], path.as_str()), (&b"a/\xff\xfe/"[..], "a/./\u{fffd}\u{fffd}/"));
        let (parent, name, must_be_directory) = path.entry().unwrap();
        assert_eq!((&parent.clean[..], name, must_be_directory), (&b"a"[..], &b"\xff\xfe"[..], true));
    }
}
