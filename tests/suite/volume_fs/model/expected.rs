//! What each method makes of a tree.

use super::call::{Call, Data, Given, How, Seen, Start};
use super::copying::Copying;
use super::tree::{Code, ESCAPE, Name, Node, check_text, demands_directory, names};
use std::collections::BTreeMap;

/// What is taken off the mode of what is made.
pub const UMASK: u32 = 0o027;

const NEW_FILE_MODE: u32 = 0o644;
const NEW_DIRECTORY_MODE: u32 = 0o755;
const LINK_MODE: u32 = 0o777;

/// What a call does.
#[derive(Debug)]
pub enum Expected {
    Gives(Given),
    /// One of these errors, and nothing is changed.
    Refused(Vec<Code>),
    /// One of these errors, and of what the model made some may be there.
    Halfway(Vec<Code>),
    /// It overwrites what it reads, so that the order matters in which that is done.
    Open,
    /// A path of the host leads out of what the model knows; not to be called.
    Unknown,
}

impl From<Result<Given, Code>> for Expected {
    fn from(result: Result<Given, Code>) -> Self {
        result.map_or_else(|code| Expected::Refused(vec![code]), Expected::Gives)
    }
}

/// A volume, and a directory of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Model {
    pub root: Node,
    pub host: Node,
}

impl Model {
    pub fn call(&mut self, call: &Call) -> Expected {
        let nothing = |()| Given::Nothing;
        match call {
            Call::Read(path) => self.read(path).map(Given::Content).into(),
            Call::ReadString(path) => match self.read(path) {
                Ok(content) if std::str::from_utf8(&content).is_err() => Err("EILSEQ").into(),
                content => content.map(Given::Content).into(),
            },
            Call::ReadStream(path, start, end) => {
                let part = |content: Vec<u8>| {
                    let end = end.map_or(usize::MAX, |end| end as usize + 1);
                    content.into_iter().take(end).skip(start.unwrap_or(0) as usize).collect()
                };
                self.read(path).map(part).map(Given::Content).into()
            }
            Call::Write(path, data, how) => self.write(path, how.mode, |_| data.bytes()).map(nothing).into(),
            Call::WriteString(path, data, mode) => {
                self.write(path, *mode, |_| data.bytes()).map(nothing).into()
            }
            Call::WriteStream(path, chunks, start, how, finished) => {
                self.write_stream(path, chunks, *start, *how, *finished).map(nothing).into()
            }
            Call::Append(path, data, mode) => {
                self.write(path, *mode, |old| [old, &data.bytes()].concat()).map(nothing).into()
            }
            Call::Mkdir(path) => self.mkdir(path).map(nothing).into(),
            Call::Remove(path) => self.remove(path).map(nothing).into(),
            Call::RemoveAll(path) => self.remove_all(path).map(nothing).into(),
            Call::Exists(path) => self.exists(path).map(Given::There).into(),
            Call::List(path, recursive) => self.list(path, *recursive).map(Given::Seen).into(),
            Call::Stat(path, follow) => self.stat(path, *follow).map(|seen| Given::Seen(vec![seen])).into(),
            Call::Rename(from, to) => self.rename(from, to),
            Call::Copy(from, to) => {
                let source = self.root.clone();
                Copying::within(&source).run(from, &mut self.root, to)
            }
            Call::CopyIn(host, to, rules) => {
                if self.host.follow(host, true).is_err_and(|code| code == ESCAPE) {
                    return Expected::Unknown;
                }
                Copying::between(&self.host, rules, 0o1777).run(host, &mut self.root, to)
            }
            Call::CopyOut(from, host, rules) => {
                Copying::between(&self.root, rules, 0o777).run_to_host(from, &mut self.host, host)
            }
        }
    }

    fn read(&self, path: &[u8]) -> Result<Vec<u8>, Code> {
        match self.root.follow_to(path)?.1 {
            Node::File(_, content) => Ok(content.clone()),
            _ => Err("EISDIR"),
        }
    }

    fn exists(&self, path: &[u8]) -> Result<bool, Code> {
        match self.root.follow(path, true) {
            Ok(place) => Ok(!place.free),
            Err("ENOENT" | "ENOTDIR") => Ok(false),
            Err(code) => Err(code),
        }
    }

    /// Makes of a file's old content its new one; a missing file has none.
    fn write(
        &mut self,
        path: &[u8],
        mode: Option<u32>,
        content: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Result<(), Code> {
        let place = self.root.follow(path, true)?;
        match self.root.at_mut(&place.names) {
            None if !place.directory => {
                let mode = mode.unwrap_or(NEW_FILE_MODE) & !UMASK;
                self.root.put(&place.names, Node::File(mode, content(b"")));
                Ok(())
            }
            Some(Node::File(_, old)) => {
                *old = content(old);
                Ok(())
            }
            _ => Err("EISDIR"),
        }
    }

    fn write_stream(
        &mut self,
        path: &[u8],
        chunks: &[Data],
        start: Start,
        how: How,
        finished: bool,
    ) -> Result<(), Code> {
        let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes()).collect();
        let streamed = |old: &[u8]| match start {
            Start::Empty => bytes.clone(),
            Start::End => [old, &bytes].concat(),
            Start::At(at) if !bytes.is_empty() => {
                let (at, mut content) = (at as usize, old.to_vec());
                content.resize(content.len().max(at + bytes.len()), 0);
                content[at..at + bytes.len()].copy_from_slice(&bytes);
                content
            }
            Start::At(_) => old.to_vec(),
        };
        match how.atomic && !finished {
            true => self.clone().write(path, how.mode, streamed),
            false => self.write(path, how.mode, streamed),
        }
    }

    /// Each directory on the way in turn, so that those before a `..` are made as well.
    fn mkdir(&mut self, path: &[u8]) -> Result<(), Code> {
        check_text(path)?;
        let names: Vec<_> = names(path).collect();
        if self.make_one(&names.join(&b'/'))? == Some("ENOENT") {
            for end in 1..=names.len() {
                self.make_one(&names[..end].join(&b'/'))?;
            }
        }
        match self.root.follow_to(path)?.1 {
            Node::Dir(..) => Ok(()),
            _ => Err("EEXIST"),
        }
    }

    fn make_one(&mut self, path: &[u8]) -> Result<Option<Code>, Code> {
        match self.root.follow(path, false) {
            Ok(place) if place.free => {
                self.root.put(&place.names, Node::Dir(NEW_DIRECTORY_MODE & !UMASK, BTreeMap::new()));
            }
            Ok(_) => {}
            Err("ENOENT") => return Ok(Some("ENOENT")),
            Err(code) => return Err(code),
        }
        Ok(None)
    }

    fn remove(&mut self, path: &[u8]) -> Result<(), Code> {
        let names = self.root.entry(path)?;
        match self.root.at(&names) {
            None => return Err("ENOENT"),
            Some(Node::Dir(_, entries)) if !entries.is_empty() => return Err("ENOTEMPTY"),
            Some(Node::File(..) | Node::Link(_)) if demands_directory(path) => return Err("ENOTDIR"),
            Some(_) => {}
        }
        self.root.take(&names);
        Ok(())
    }

    fn remove_all(&mut self, path: &[u8]) -> Result<(), Code> {
        match self.root.entry(path) {
            Err("ENOENT") => {}
            names => drop(self.root.take(&names?)),
        }
        Ok(())
    }

    /// If both paths are wrong, the error may name either.
    fn rename(&mut self, from: &[u8], to: &[u8]) -> Expected {
        match (self.root.entry(from), self.root.entry(to)) {
            (Ok(old), Ok(new)) => {
                let demanded = demands_directory(from) || demands_directory(to);
                self.rename_entry(&old, &new, demanded).map(|()| Given::Nothing).into()
            }
            (old, new) => Expected::Refused([old.err(), new.err()].into_iter().flatten().collect()),
        }
    }

    fn rename_entry(&mut self, old: &[Name], new: &[Name], demanded: bool) -> Result<(), Code> {
        let is_dir = match self.root.at(old) {
            None => return Err("ENOENT"),
            Some(node) => node.is_dir(),
        };
        match self.root.at(new) {
            _ if demanded && !is_dir => return Err("ENOTDIR"),
            _ if old == new => return Ok(()),
            _ if new.starts_with(old) => return Err("EINVAL"),
            _ if old.starts_with(new) => return Err("ENOTEMPTY"),
            Some(Node::Dir(..)) if !is_dir => return Err("EISDIR"),
            Some(Node::Dir(_, entries)) if !entries.is_empty() => return Err("ENOTEMPTY"),
            Some(Node::File(..) | Node::Link(_)) if is_dir => return Err("ENOTDIR"),
            _ => {}
        }
        let node = self.root.take(old).unwrap();
        self.root.put(new, node);
        Ok(())
    }

    fn stat(&self, path: &[u8], follow: bool) -> Result<Seen, Code> {
        let place = self.root.follow(path, follow)?;
        let node = self.root.at(&place.names).ok_or("ENOENT")?;
        Ok(seen(Vec::new(), node))
    }

    fn list(&self, path: &[u8], recursive: bool) -> Result<Vec<Seen>, Code> {
        let directory = self.root.follow_to_dir(path)?;
        let mut prefix = names(path).collect::<Vec<_>>().join(&b'/');
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        let mut listed = Vec::new();
        list_below(self.root.at(&directory).unwrap(), &prefix, recursive, &mut listed);
        Ok(listed)
    }
}

/// A directory's entries, and then what is below each.
fn list_below(node: &Node, prefix: &[u8], recursive: bool, listed: &mut Vec<Seen>) {
    let entries = || node.entries().into_iter().flatten();
    listed.extend(entries().map(|(name, node)| seen([prefix, name].concat(), node)));
    for (name, node) in entries().filter(|_| recursive) {
        list_below(node, &[prefix, name, b"/"].concat(), recursive, listed);
    }
}

fn seen(path: Vec<u8>, node: &Node) -> Seen {
    let (kind, mode, size) = match node {
        Node::Dir(mode, _) => ("directory", *mode, None),
        Node::File(mode, content) => ("file", *mode, Some(content.len() as u64)),
        Node::Link(target) => ("symlink", LINK_MODE, Some(target.len() as u64)),
    };
    Seen { path, kind, mode, size }
}
