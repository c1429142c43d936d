//! A volume's files as they should be: a tree in memory, and how paths lead through it.
//!
//! Paths and links are followed name by name, as the kernel does it beneath a directory that nothing leads out of.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

pub type Name = Vec<u8>;

/// The code of an error.
pub type Code = &'static str;

pub const ESCAPE: Code = "ERR_PATH_ESCAPE";
pub const INVALID: Code = "ERR_INVALID_CONFIG";

/// As many links as Linux follows.
const MAX_LINKS: usize = 40;

/// What stands at a name; of a file and a directory the permission bits as well.
#[derive(Clone, PartialEq, Eq)]
pub enum Node {
    Dir(u32, BTreeMap<Name, Node>),
    File(u32, Vec<u8>),
    Link(Vec<u8>),
}

impl Node {
    pub fn is_dir(&self) -> bool {
        matches!(self, Node::Dir(..))
    }

    /// What is in a directory; nothing in what is none.
    pub fn entries(&self) -> Option<&BTreeMap<Name, Node>> {
        match self {
            Node::Dir(_, entries) => Some(entries),
            _ => None,
        }
    }

    pub fn at(&self, names: &[Name]) -> Option<&Node> {
        names.iter().try_fold(self, |node, name| node.entries()?.get(name))
    }

    pub fn at_mut(&mut self, names: &[Name]) -> Option<&mut Node> {
        names.iter().try_fold(self, |node, name| match node {
            Node::Dir(_, entries) => entries.get_mut(name),
            _ => None,
        })
    }

    /// The entries of the directory that holds the last name.
    fn holder<'n>(&mut self, names: &'n [Name]) -> Option<(&mut BTreeMap<Name, Node>, &'n Name)> {
        let (name, above) = names.split_last()?;
        match self.at_mut(above)? {
            Node::Dir(_, entries) => Some((entries, name)),
            _ => None,
        }
    }

    pub fn put(&mut self, names: &[Name], node: Node) {
        let (entries, name) = self.holder(names).unwrap();
        entries.insert(name.clone(), node);
    }

    pub fn take(&mut self, names: &[Name]) -> Option<Node> {
        let (entries, name) = self.holder(names)?;
        entries.remove(name)
    }

    /// Follows a path, and the link at its end where asked to.
    pub fn follow(&self, path: &[u8], last_link: bool) -> Result<Place, Code> {
        check_text(path)?;
        self.walk(path, last_link)
    }

    /// The same for a path whose text was checked.
    fn walk(&self, path: &[u8], last_link: bool) -> Result<Place, Code> {
        let mut directory = demands_directory(path);
        let mut left: VecDeque<Name> = names(path).map(<[u8]>::to_vec).collect();
        let mut at: Vec<Name> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            if name == b".." {
                at.pop().ok_or(ESCAPE)?;
                continue;
            }
            at.push(name);
            match self.at(&at) {
                None if left.is_empty() => return Ok(Place { names: at, free: true, directory }),
                None => return Err("ENOENT"),
                Some(Node::Link(target)) if last_link || directory || !left.is_empty() => {
                    links += 1;
                    match links > MAX_LINKS {
                        true => return Err("ELOOP"),
                        false if target.starts_with(b"/") => return Err(ESCAPE),
                        false => {}
                    }
                    directory |= left.is_empty() && demands_directory(target);
                    at.pop();
                    left = names(target).map(<[u8]>::to_vec).chain(left).collect();
                }
                Some(Node::File(..)) if directory || !left.is_empty() => return Err("ENOTDIR"),
                Some(_) => {}
            }
        }
        Ok(Place { names: at, free: false, directory })
    }

    /// Follows a path to something that is there.
    pub fn follow_to(&self, path: &[u8]) -> Result<(Vec<Name>, &Node), Code> {
        let place = self.follow(path, true)?;
        let node = self.at(&place.names).ok_or("ENOENT")?;
        Ok((place.names, node))
    }

    /// Follows a path to a directory that is there.
    pub fn follow_to_dir(&self, path: &[u8]) -> Result<Vec<Name>, Code> {
        check_text(path)?;
        let place = self.walk(&[path, b"/"].concat(), true)?;
        if place.free { Err("ENOENT") } else { Ok(place.names) }
    }

    /// The entry itself that a path names, in the directory that what is before it leads to.
    pub fn entry(&self, path: &[u8]) -> Result<Vec<Name>, Code> {
        check_text(path)?;
        let mut names: Vec<_> = names(path).collect();
        let name = names.pop().filter(|name| *name != b"..").ok_or(INVALID)?;
        // The directory that holds it is opened, so a file there is ENOTDIR.
        let holder = self.follow_to_dir(&names.join(&b'/'))?;
        Ok([holder, vec![name.to_vec()]].concat())
    }

    /// One line for each entry, below one for the node itself.
    fn describe(&self, path: &mut Vec<u8>, out: &mut impl fmt::Write) -> fmt::Result {
        let name = path.escape_ascii();
        match self {
            Node::Dir(mode, entries) => {
                writeln!(out, "  {name}/ {mode:o}")?;
                for (name, node) in entries {
                    let length = path.len();
                    path.push(b'/');
                    path.extend_from_slice(name);
                    node.describe(path, out)?;
                    path.truncate(length);
                }
                Ok(())
            }
            Node::File(mode, content) => writeln!(out, "  {name} {mode:o} {}", runs(content)),
            Node::Link(target) => writeln!(out, "  {name} -> {}", target.escape_ascii()),
        }
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out)?;
        self.describe(&mut b".".to_vec(), out)
    }
}

/// Where a path leads: names from the root to something that is there, or to a free one in a directory.
pub struct Place {
    pub names: Vec<Name>,
    pub free: bool,
    /// Whether a slash at the end, of the path or of a link, says that it is a directory.
    pub directory: bool,
}

/// What the text of a path says by itself.
pub fn check_text(path: &[u8]) -> Result<(), Code> {
    if path.contains(&0) {
        return Err(INVALID);
    }
    if path.starts_with(b"/") {
        return Err(ESCAPE);
    }
    let mut depth = 0i32;
    for name in names(path) {
        depth += if name == b".." { -1 } else { 1 };
        if depth < 0 {
            return Err(ESCAPE);
        }
    }
    Ok(())
}

pub fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

pub fn demands_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.")
}

/// Bytes for readers: each with how often it stands in a row.
pub fn runs(bytes: &[u8]) -> String {
    let run = |run: &[u8]| format!("{}*{}", run[..1].escape_ascii(), run.len());
    format!("[{}]", bytes.chunk_by(|one, other| one == other).map(run).collect::<Vec<_>>().join(" "))
}
