//! What copying makes of two trees, or of one.

use super::call::{Given, Transfer};
use super::expected::Expected;
use super::tree::{Code, ESCAPE, Name, Node, check_text, names};
use std::collections::BTreeMap;

/// What of a file's mode is kept.
const PERMISSIONS: u32 = 0o777;

/// What becomes of links below the top.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Keep,
    Refuse,
    Skip,
}

/// A copy from a tree.
pub struct Copying<'t> {
    source: &'t Node,
    links: Links,
    /// The name that the filter declines.
    without: Option<&'t Name>,
    /// What of a directory's mode is kept.
    directory_mode: u32,
    /// Whether it is copied to the same tree.
    within: bool,
}

#[derive(Default)]
struct Tally {
    files: u64,
    bytes: u64,
    skipped: u64,
    problems: Vec<Code>,
}

impl<'t> Copying<'t> {
    /// A copy within a tree, of which `source` is a clone.
    pub fn within(source: &'t Node) -> Self {
        Copying { source, links: Links::Keep, without: None, directory_mode: 0o1777, within: true }
    }

    /// A copy from the volume to the host, or the other way.
    pub fn between(source: &'t Node, rules: &'t Transfer, directory_mode: u32) -> Self {
        let links = if rules.skip { Links::Skip } else { Links::Refuse };
        Copying { source, links, without: rules.without.as_ref(), directory_mode, within: false }
    }

    /// Copies to a path of a volume.
    pub fn run(&self, from: &[u8], target: &mut Node, to: &[u8]) -> Expected {
        // The texts of paths in a volume are checked before any entry is looked up.
        let text = if self.within { check_text(from) } else { Ok(()) };
        match text.and_then(|()| check_text(to)).and_then(|()| self.source.follow_to(from)) {
            Err(code) => Err(code).into(),
            Ok((from, node)) => match place(target, to, node.is_dir()) {
                Err(code) => Err(code).into(),
                Ok(to) => self.put(&from, node, target, &to),
            },
        }
    }

    /// Copies to a path of the host: a link at its end is followed to a directory that is there, and takes no
    /// directory otherwise; a file takes its place.
    pub fn run_to_host(&self, from: &[u8], target: &mut Node, to: &[u8]) -> Expected {
        let (from, node) = match self.source.follow_to(from) {
            Err(code) => return Err(code).into(),
            Ok(found) => found,
        };
        let leads = target.follow(to, node.is_dir());
        let is_dangling = leads.as_ref().map_or_else(|code| *code == "ENOENT", |place| place.free);
        let leaf = target.entry(to).ok().and_then(|names| target.at(&names));
        match leads {
            Err(ESCAPE) => Expected::Unknown,
            _ if is_dangling && matches!(leaf, Some(Node::Link(_))) => {
                Expected::Refused(vec!["ENOTDIR", "ELOOP"])
            }
            Err(code) => Err(code).into(),
            Ok(place) => match refusal(target.at(&place.names), node.is_dir()) {
                Some(code) => Err(code).into(),
                None => self.put(&from, node, target, &place.names),
            },
        }
    }

    fn put(&self, from: &[Name], node: &Node, target: &mut Node, to: &[Name]) -> Expected {
        let is_there = target.at(to).is_some();
        let mut tally = Tally::default();
        match node {
            Node::File(..) if self.within && from == to => return Err("EINVAL").into(),
            Node::File(mode, content) => {
                target.put(to, Node::File(mode & PERMISSIONS, content.clone()));
                (tally.files, tally.bytes) = (1, content.len() as u64);
            }
            Node::Dir(mode, entries) => {
                // Where it is made, the directory that holds it counts.
                let outer = if is_there { to } else { &to[..to.len() - 1] };
                if self.within && outer.starts_with(from) {
                    return Err("EINVAL").into();
                }
                let way_back = from.strip_prefix(to).and_then(|names| names.first());
                if self.within && way_back.is_some_and(|name| entries.get(name).is_some_and(Node::is_dir)) {
                    return Expected::Open;
                }
                let mut made = target.at(to).cloned().unwrap_or(self.new_dir(*mode));
                self.merge(entries, &mut made, 0, &mut tally);
                if !is_there && !tally.problems.is_empty() {
                    return Expected::Refused(tally.problems);
                }
                match to {
                    [] => *target = made,
                    _ => target.put(to, made),
                }
            }
            Node::Link(_) => panic!("a link that was followed"),
        }
        match tally.problems.is_empty() {
            true => Expected::Gives(Given::Copied {
                files: tally.files,
                bytes: tally.bytes,
                skipped: tally.skipped,
            }),
            false => Expected::Halfway(tally.problems),
        }
    }

    fn new_dir(&self, mode: u32) -> Node {
        Node::Dir(mode & self.directory_mode, BTreeMap::new())
    }

    fn merge(&self, entries: &BTreeMap<Name, Node>, into: &mut Node, depth: usize, tally: &mut Tally) {
        let Node::Dir(_, made) = into else { return };
        for (name, node) in entries.iter().filter(|(name, _)| Some(*name) != self.without) {
            let old = made.get(name);
            match node {
                Node::Dir(..) if old.is_some_and(|old| !old.is_dir()) => tally.problems.push("ENOTDIR"),
                Node::Dir(mode, entries) => {
                    let below = made.entry(name.clone()).or_insert_with(|| self.new_dir(*mode));
                    self.merge(entries, below, depth + 1, tally);
                }
                Node::Link(target) if self.links != Links::Keep && may_lead_out(depth, target) => {
                    match self.links {
                        Links::Skip => tally.skipped += 1,
                        _ => tally.problems.push(ESCAPE),
                    }
                }
                _ if old.is_some_and(Node::is_dir) => tally.problems.push("EISDIR"),
                Node::Link(_) => {
                    made.insert(name.clone(), node.clone());
                    tally.files += 1;
                }
                Node::File(mode, content) => {
                    made.insert(name.clone(), Node::File(mode & PERMISSIONS, content.clone()));
                    tally.files += 1;
                    tally.bytes += content.len() as u64;
                }
            }
        }
    }
}

/// Where a copy goes that replaces nothing of another kind.
pub fn place(target: &Node, to: &[u8], is_dir: bool) -> Result<Vec<Name>, Code> {
    let place = target.follow(to, true)?;
    match place.free && place.directory && !is_dir {
        true => Err("EISDIR"),
        false => refusal(target.at(&place.names), is_dir).map_or(Ok(place.names), Err),
    }
}

fn refusal(old: Option<&Node>, is_dir: bool) -> Option<Code> {
    match old {
        Some(Node::Dir(..)) if !is_dir => Some("EISDIR"),
        Some(Node::File(..) | Node::Link(_)) if is_dir => Some("ENOTDIR"),
        _ => None,
    }
}

/// Whether a link `depth` levels below the top may lead out of the copied tree: an absolute one, one that climbs
/// above the top, and one with a `..` behind a name, which may be a link itself.
fn may_lead_out(depth: usize, target: &[u8]) -> bool {
    let climbs = names(target).take_while(|name| *name == b"..").count();
    target.starts_with(b"/") || climbs > depth || names(target).skip(climbs).any(|name| name == b"..")
}
