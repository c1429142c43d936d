//! A volume's files as they should be: a tree in memory, and what each method makes of it.
//!
//! Paths and links are followed name by name, as the kernel does it beneath a directory that nothing leads out of.

use std::collections::{BTreeMap, VecDeque};

pub type Name = Vec<u8>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    Dir(BTreeMap<Name, Node>),
    File(Vec<u8>),
    Link(Vec<u8>),
}

impl Node {
    pub fn empty_dir() -> Self {
        Node::Dir(BTreeMap::new())
    }

    /// What is in a directory; nothing in what is none.
    fn entries(&self) -> Option<&BTreeMap<Name, Node>> {
        match self {
            Node::Dir(entries) => Some(entries),
            _ => None,
        }
    }
}

/// What a method gives: a file's content, whether something is there, or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    Nothing,
    Content(Vec<u8>),
    There(bool),
}

/// The code of an error.
pub type Code = &'static str;

const ESCAPE: Code = "ERR_PATH_ESCAPE";
const INVALID: Code = "ERR_INVALID_CONFIG";

/// As many links as Linux follows.
const MOST_LINKS: usize = 40;

/// Where a path leads: names from the root to something that is there, or to a free one in a directory.
struct Place {
    names: Vec<Name>,
    free: bool,
    /// Whether a slash at the end, of the path or of a link, says that it is a directory.
    directory: bool,
}

pub struct Model {
    pub root: Node,
}

impl Model {
    /// Calls a method by name; one line each. Those that write write `content`.
    pub fn call(&mut self, method: &str, path: &[u8], content: &[u8]) -> Result<Given, Code> {
        check_text(path)?;
        match method {
            "read" => self.read(path).map(Given::Content),
            "write" | "writeAtomic" => self.write(path, content).map(|()| Given::Nothing),
            "mkdir" => self.mkdir(path).map(|()| Given::Nothing),
            "remove" => self.remove(path).map(|()| Given::Nothing),
            "removeAll" => self.remove_all(path).map(|()| Given::Nothing),
            "exists" => self.exists(path).map(Given::There),
            _ => panic!("no method {method}"),
        }
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, Code> {
        let place = self.follow(path, true)?;
        match self.at(&place.names) {
            None => Err("ENOENT"),
            Some(Node::File(content)) => Ok(content.clone()),
            Some(_) => Err("EISDIR"),
        }
    }

    fn exists(&self, path: &[u8]) -> Result<bool, Code> {
        match self.follow(path, true) {
            Ok(place) => Ok(!place.free),
            Err("ENOENT" | "ENOTDIR") => Ok(false),
            Err(code) => Err(code),
        }
    }

    fn write(&mut self, path: &[u8], content: &[u8]) -> Result<(), Code> {
        let place = self.follow(path, true)?;
        match self.at(&place.names) {
            Some(Node::Dir(_)) => return Err("EISDIR"),
            None if place.directory => return Err("EISDIR"),
            _ => self.put(&place.names, Node::File(content.to_vec())),
        }
        Ok(())
    }

    /// Each directory on the way in turn, so that those before a `..` are made as well.
    fn mkdir(&mut self, path: &[u8]) -> Result<(), Code> {
        let names: Vec<_> = names(path).collect();
        if self.make_one(&names.join(&b'/'))? == Some("ENOENT") {
            for end in 1..=names.len() {
                self.make_one(&names[..end].join(&b'/'))?;
            }
        }
        let place = self.follow(path, true)?;
        match self.at(&place.names) {
            None => Err("ENOENT"),
            Some(Node::Dir(_)) => Ok(()),
            Some(_) => Err("EEXIST"),
        }
    }

    fn make_one(&mut self, path: &[u8]) -> Result<Option<Code>, Code> {
        match self.follow(path, false) {
            Ok(place) if place.free => self.put(&place.names, Node::empty_dir()),
            Ok(_) => {}
            Err("ENOENT") => return Ok(Some("ENOENT")),
            Err(code) => return Err(code),
        }
        Ok(None)
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), Code> {
        let names = self.entry(path)?;
        match self.at(&names) {
            None => return Err("ENOENT"),
            Some(Node::Dir(entries)) if !entries.is_empty() => return Err("ENOTEMPTY"),
            Some(Node::File(_) | Node::Link(_)) if demands_directory(path) => return Err("ENOTDIR"),
            Some(_) => {}
        }
        self.take(&names);
        Ok(())
    }

    fn remove_all(&mut self, path: &[u8]) -> Result<(), Code> {
        match self.entry(path) {
            Err("ENOENT") => {}
            names => self.take(&names?),
        }
        Ok(())
    }

    /// The entry itself that a path names, in the directory that what is before it leads to.
    fn entry(&self, path: &[u8]) -> Result<Vec<Name>, Code> {
        let mut names: Vec<_> = names(path).collect();
        let name = names.pop().filter(|name| *name != b"..").ok_or(INVALID)?;
        // The directory that holds it is opened, so a file there is ENOTDIR.
        let holder = self.follow(&[&names.join(&b'/')[..], b"/"].concat(), true)?;
        match holder.free {
            true => Err("ENOENT"),
            false => Ok([holder.names, vec![name.to_vec()]].concat()),
        }
    }

    /// Follows a path, and the link at its end where asked to.
    fn follow(&self, path: &[u8], last_link: bool) -> Result<Place, Code> {
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
                    match links > MOST_LINKS {
                        true => return Err("ELOOP"),
                        false if target.starts_with(b"/") => return Err(ESCAPE),
                        false => {}
                    }
                    directory |= left.is_empty() && demands_directory(target);
                    at.pop();
                    left = names(target).map(<[u8]>::to_vec).chain(left).collect();
                }
                Some(Node::File(_)) if directory || !left.is_empty() => return Err("ENOTDIR"),
                Some(_) => {}
            }
        }
        Ok(Place { names: at, free: false, directory })
    }

    pub fn at(&self, names: &[Name]) -> Option<&Node> {
        names.iter().try_fold(&self.root, |node, name| node.entries()?.get(name))
    }

    /// The entries of the directory that holds the last name.
    fn holder<'n>(&mut self, names: &'n [Name]) -> Option<(&mut BTreeMap<Name, Node>, &'n Name)> {
        let (name, above) = names.split_last()?;
        let holder = above.iter().try_fold(&mut self.root, |node, name| match node {
            Node::Dir(entries) => entries.get_mut(name),
            _ => None,
        })?;
        match holder {
            Node::Dir(entries) => Some((entries, name)),
            _ => None,
        }
    }

    pub fn put(&mut self, names: &[Name], node: Node) {
        let (entries, name) = self.holder(names).unwrap();
        entries.insert(name.clone(), node);
    }

    fn take(&mut self, names: &[Name]) {
        let (entries, name) = self.holder(names).unwrap();
        entries.remove(name);
    }
}

/// What the text of a path says by itself.
fn check_text(path: &[u8]) -> Result<(), Code> {
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

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".")
}

fn demands_directory(path: &[u8]) -> bool {
    path.ends_with(b"/") || path.ends_with(b"/.")
}
