//! The model of a file system: what a directory tree was, what was done to it, and what of that is left when the power
//! fails.
//!
//! It is as forgetful as POSIX allows a file system to be that does not break itself:
//! - A file's bytes and length are on disk after `fsync`, `fdatasync` or `syncfs`, and its mode after `fsync` or
//!   `syncfs`.
//! - A name that was made or removed is on disk after an `fsync` of the directory that holds it. An `fsync` of the file
//!   or directory itself does not do it.
//! - A rename is one step, kept or lost as a whole, and on disk after an `fsync` of either directory.
//! - Whatever is not on disk so may be there or not, each for itself, in whatever order it was done. Of a write, any
//!   sectors from its beginning on may be there, and where its bytes are not, there may be zeros.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

/// A file or directory, whatever its name.
pub type Node = usize;

/// Names and what they stand for.
pub type Names = BTreeMap<(Node, Vec<u8>), Node>;

/// What a file or directory was when it was made.
#[derive(Clone)]
pub struct Origin {
    pub is_dir: bool,
    pub mode: u32,
    pub content: Vec<u8>,
    /// When it was changed last; none for what was made later.
    pub modified: Option<SystemTime>,
}

/// What was done.
pub enum Step {
    Name {
        holder: Node,
        name: Vec<u8>,
        node: Node,
    },
    Unname {
        holder: Node,
        node: Node,
    },
    Move {
        from: Node,
        to: Node,
        name: Vec<u8>,
        node: Node,
    },
    Write {
        node: Node,
        at: u64,
        bytes: Vec<u8>,
    },
    Length {
        node: Node,
        length: u64,
    },
    Mode {
        node: Node,
        mode: u32,
    },
    /// Of one file or directory, or of all; of what was done before that many steps.
    Sync {
        node: Option<Node>,
        with_mode: bool,
        covers: usize,
    },
    /// Nothing on disk: a line that the process said.
    Said(String),
}

/// How much of a step is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kept {
    All,
    Nothing,
    /// The first bytes of a write.
    Bytes(usize),
    /// A write's length, with zeros for its bytes.
    Zeros,
}

/// The root is the first node.
pub const ROOT: Node = 0;

#[derive(Default)]
pub struct Disk {
    pub origins: Vec<Origin>,
    /// The names before anything was done.
    pub base: Names,
    pub steps: Vec<Step>,
}

impl Step {
    /// Whether a sync of that node puts the step on disk.
    fn is_covered(&self, synced: Node, with_mode: bool) -> bool {
        match self {
            Step::Name { holder, .. } | Step::Unname { holder, .. } => *holder == synced,
            Step::Move { from, to, .. } => *from == synced || *to == synced,
            Step::Write { node, .. } | Step::Length { node, .. } => *node == synced,
            Step::Mode { node, .. } => *node == synced && with_mode,
            Step::Sync { .. } | Step::Said(_) => false,
        }
    }

    /// Where steps of a kind lie that a file system would keep in order: a directory's names, or a file's bytes.
    pub fn place(&self) -> Option<(bool, Node)> {
        match self {
            Step::Name { holder, .. } | Step::Unname { holder, .. } => Some((true, *holder)),
            Step::Move { to, .. } => Some((true, *to)),
            Step::Write { node, .. } | Step::Length { node, .. } | Step::Mode { node, .. } => {
                Some((false, *node))
            }
            Step::Sync { .. } | Step::Said(_) => None,
        }
    }
}

impl Disk {
    /// What stands below a directory, all of it on disk.
    pub fn of(root: &Path) -> Self {
        let mut disk = Disk::default();
        disk.add(root, None);
        disk
    }

    fn add(&mut self, path: &Path, place: Option<(Node, Vec<u8>)>) {
        let found = fs::symlink_metadata(path).unwrap();
        let content = if found.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        let node = self.origins.len();
        self.origins.push(Origin {
            is_dir: found.is_dir(),
            mode: found.permissions().mode() & 0o7777,
            content,
            modified: found.modified().ok(),
        });
        if let Some(place) = place {
            self.base.insert(place, node);
        }
        if found.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                let name = entry.unwrap().file_name();
                self.add(&path.join(&name), Some((node, name.as_bytes().to_vec())));
            }
        }
    }

    /// For each step, after how many steps it is on disk, if ever. Where `syncs` says no, none is.
    pub fn on_disk_after(&self, syncs: bool) -> Vec<usize> {
        let mut after = vec![usize::MAX; self.steps.len()];
        for (at, step) in self.steps.iter().enumerate() {
            let Step::Sync { node, with_mode, covers } = step else { continue };
            for (done, step) in self.steps[..*covers].iter().enumerate() {
                let covered = node.is_none_or(|node| step.is_covered(node, *with_mode));
                if syncs && covered && after[done] == usize::MAX {
                    after[done] = at + 1;
                }
            }
        }
        after
    }

    /// The names after the steps that are kept.
    fn names(&self, kept: &[Kept]) -> Names {
        let mut names = self.base.clone();
        for (step, kept) in self.steps.iter().zip(kept) {
            match step {
                _ if *kept == Kept::Nothing => {}
                Step::Name { holder, name, node } => drop(names.insert((*holder, name.clone()), *node)),
                Step::Unname { node, .. } => names.retain(|_, named| named != node),
                Step::Move { to, name, node, .. } => {
                    names.retain(|_, named| named != node);
                    names.insert((*to, name.clone()), *node);
                }
                _ => {}
            }
        }
        names
    }

    fn content(&self, node: Node, kept: &[Kept]) -> (Vec<u8>, u32) {
        let (mut content, mut mode) = (self.origins[node].content.clone(), self.origins[node].mode);
        for (step, kept) in self.steps.iter().zip(kept) {
            match (step, kept) {
                (_, Kept::Nothing) => {}
                (Step::Write { node: of, at, bytes }, kept) if *of == node => {
                    let (at, zeros) = (*at as usize, vec![0; bytes.len()]);
                    let bytes = match kept {
                        Kept::Bytes(length) => &bytes[..*length],
                        Kept::Zeros => &zeros,
                        _ => &bytes[..],
                    };
                    content.resize(content.len().max(at + bytes.len()), 0);
                    content[at..at + bytes.len()].copy_from_slice(bytes);
                }
                (Step::Length { node: of, length }, _) if *of == node => content.resize(*length as usize, 0),
                (Step::Mode { node: of, mode: new }, _) if *of == node => mode = *new,
                _ => {}
            }
        }
        (content, mode)
    }

    /// Makes the tree that is left where just these steps are kept, in an empty directory.
    pub fn make(&self, root: &Path, kept: &[Kept]) {
        let names = self.names(kept);
        self.make_below(root, ROOT, &names, kept, &mut HashSet::new());
    }

    fn make_below(&self, path: &Path, node: Node, names: &Names, kept: &[Kept], made: &mut HashSet<Node>) {
        assert!(made.insert(node), "a directory has two names, or a file, which is not modelled");
        for ((_, name), child) in names.range((node, Vec::new())..(node + 1, Vec::new())) {
            let path = path.join(std::ffi::OsStr::from_bytes(name));
            let (content, mode) = self.content(*child, kept);
            let origin = &self.origins[*child];
            if origin.is_dir {
                fs::create_dir(&path).unwrap();
                self.make_below(&path, *child, names, kept, made);
            } else {
                write_sparsely(&path, &content);
            }
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            if let Some(modified) = origin.modified {
                File::open(&path).unwrap().set_modified(modified).unwrap();
            }
        }
    }
}

fn write_sparsely(path: &Path, content: &[u8]) {
    const BLOCK: usize = 4096;
    let mut file = File::create(path).unwrap();
    if content.len() < 16 * BLOCK {
        return file.write_all(content).unwrap();
    }
    file.set_len(content.len() as u64).unwrap();
    for (at, block) in content.chunks(BLOCK).enumerate() {
        if block != &[0; BLOCK][..block.len()] {
            file.write_all_at(block, (at * BLOCK) as u64).unwrap();
        }
    }
}
