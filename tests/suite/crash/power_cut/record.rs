//! From system calls to what they did to the files below one directory.

use super::calls::{Call, bytes, number, read};
use super::disk::{Disk, Names, Node, Origin, ROOT, Step};
use std::cell::RefCell;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// An open file, which several descriptors may share.
struct Open {
    node: Node,
    at: u64,
    appends: bool,
}

/// The disk, as a process sees it.
pub struct Record {
    pub disk: Disk,
    root: PathBuf,
    names: Names,
    lengths: HashMap<Node, u64>,
    /// The descriptors of the process that is followed, of files below the root.
    open: HashMap<i64, Rc<RefCell<Open>>>,
}

impl Record {
    pub fn of(root: &Path) -> Self {
        let disk = Disk::of(root);
        let lengths = disk.origins.iter().enumerate().map(|(node, it)| (node, it.content.len() as u64));
        Record {
            root: root.to_owned(),
            names: disk.base.clone(),
            lengths: lengths.collect(),
            disk,
            open: HashMap::new(),
        }
    }

    /// Follows a process from when it had nothing open below the root.
    pub fn follow(&mut self, log: &str) {
        self.open.clear();
        let mut done = Vec::new();
        for call in read(log) {
            done.push(self.disk.steps.len());
            let covers = done[call.begun];
            self.take(&call, covers);
        }
    }

    fn take(&mut self, call: &Call, covers: usize) {
        let argument = |nth: usize| call.arguments[nth].as_str();
        let fd = |nth: usize| argument(nth).parse().unwrap_or(-1);
        match call.name.as_str() {
            "open" => self.open(call, "AT_FDCWD", argument(0), argument(1), call.arguments.get(2)),
            "openat" | "openat2" => {
                self.open(call, argument(0), argument(1), argument(2), call.arguments.get(3))
            }
            "dup" | "dup2" | "dup3" => self.share(fd(0), call.result),
            "fcntl" if argument(1).starts_with("F_DUPFD") => self.share(fd(0), call.result),
            "close" => drop(self.open.remove(&fd(0))),
            "lseek" => self.with(fd(0), |open| open.at = call.result as u64),
            "read" => self.with(fd(0), |open| open.at += call.result as u64),
            "write" if fd(0) == 2 => {
                let line = String::from_utf8(bytes(argument(1))).unwrap();
                self.disk.steps.push(Step::Said(line.trim_end().to_owned()));
            }
            "write" | "writev" => self.write(fd(0), None, argument(1), call.result),
            "pwrite64" | "pwritev" | "pwritev2" => {
                self.write(fd(0), Some(number(argument(3))), argument(1), call.result);
            }
            "ftruncate" => self.set_length(fd(0), number(argument(1))),
            "fallocate" => self.allocate(fd(0), argument(1), number(argument(2)), number(argument(3))),
            "fchmod" => {
                if let Some(node) = self.node_of(fd(0)) {
                    let mode = number(argument(1)) as u32;
                    self.disk.steps.push(Step::Mode { node, mode });
                }
            }
            "mkdir" => self.make_dir("AT_FDCWD", argument(0), argument(1)),
            "mkdirat" => self.make_dir(argument(0), argument(1), argument(2)),
            "mknodat" if argument(2).starts_with("S_IFREG|") => {
                if let Some(place) = self.place(argument(0), &bytes(argument(1))) {
                    self.make(place, false, number(&argument(2)["S_IFREG|".len()..]) as u32);
                }
            }
            "unlink" | "rmdir" => self.remove("AT_FDCWD", argument(0)),
            "unlinkat" => self.remove(argument(0), argument(1)),
            "rename" => self.rename(["AT_FDCWD", argument(0)], ["AT_FDCWD", argument(1)]),
            "renameat" | "renameat2" => {
                let is_known = call.arguments.get(4).is_none_or(|flags| !flags.contains("EXCHANGE"));
                assert!(is_known, "{call:?}");
                self.rename([argument(0), argument(1)], [argument(2), argument(3)]);
            }
            "fsync" | "fdatasync" => {
                if let Some(node) = self.node_of(fd(0)) {
                    let with_mode = call.name == "fsync";
                    self.disk.steps.push(Step::Sync { node: Some(node), with_mode, covers });
                }
            }
            "sync" | "syncfs" => self.disk.steps.push(Step::Sync { node: None, with_mode: true, covers }),
            // A shared mapping of a file would change it without a call; only SQLite's index of its log, which
            // it makes again, may be one.
            "mmap" if argument(2).contains("PROT_WRITE") && argument(3).contains("MAP_SHARED") => {
                let node = self.node_of(fd(4));
                assert!(node.is_none_or(|node| self.is_index(node)), "{call:?}");
            }
            "mmap" | "pread64" | "fcntl" => {}
            "stat" | "lstat" | "newfstatat" | "statx" | "access" | "faccessat" | "faccessat2" | "statfs"
            | "readlink" | "readlinkat" | "listxattr" | "getcwd" | "execve" | "chdir" | "unshare" => {}
            // SQLite gives its log the owner of the catalog; a model without owners loses nothing.
            "chown" | "fchown" | "fchownat" => {}
            "ioctl" if self.node_of(fd(0)).is_none() || !argument(1).contains("CLONE") => {}
            _ => panic!("a call that is not modelled: {call:?}"),
        }
    }

    fn with(&mut self, fd: i64, change: impl FnOnce(&mut Open)) {
        if let Some(open) = self.open.get(&fd) {
            change(&mut open.borrow_mut());
        }
    }

    fn share(&mut self, fd: i64, new: i64) {
        match self.open.get(&fd).cloned() {
            Some(open) => drop(self.open.insert(new, open)),
            None => drop(self.open.remove(&new)),
        }
    }

    fn node_of(&self, fd: i64) -> Option<Node> {
        self.open.get(&fd).map(|open| open.borrow().node)
    }

    fn is_index(&self, node: Node) -> bool {
        self.names.iter().any(|((_, name), named)| *named == node && name.ends_with(b"-shm"))
    }

    /// The directory that holds what a path names, and its name there. Returns `None` if that is not below the root.
    /// The name is empty if the path names a directory by `.`, `..` or a descriptor.
    fn place(&self, dir: &str, path: &[u8]) -> Option<(Node, Vec<u8>)> {
        let (mut at, rest) = if let Some(rest) = path.strip_prefix(b"/proc/self/fd/") {
            let (fd, rest) = rest.split_at(rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len()));
            (self.node_of(std::str::from_utf8(fd).ok()?.parse().ok()?)?, rest)
        } else if path.starts_with(b"/") {
            (
                ROOT,
                Path::new(std::ffi::OsStr::from_bytes(path))
                    .strip_prefix(&self.root)
                    .ok()?
                    .as_os_str()
                    .as_bytes(),
            )
        } else {
            (self.node_of(dir.parse().ok()?)?, path)
        };
        let mut names =
            rest.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && name != b".").peekable();
        while let Some(name) = names.next() {
            let last = names.peek().is_none();
            at = match name {
                b".." => self.names.iter().find(|(_, node)| **node == at)?.0.0,
                _ if last => return Some((at, name.to_vec())),
                _ => *self.names.get(&(at, name.to_vec()))?,
            };
        }
        Some((at, Vec::new()))
    }

    fn found(&self, place: &(Node, Vec<u8>)) -> Option<Node> {
        if place.1.is_empty() { Some(place.0) } else { self.names.get(place).copied() }
    }

    fn open(&mut self, call: &Call, dir: &str, path: &str, flags: &str, mode: Option<&String>) {
        self.open.remove(&call.result);
        let Some(place) = self.place(dir, &bytes(path)) else { return };
        assert!(!flags.contains("O_TMPFILE"), "{call:?}");
        let node = match self.found(&place) {
            Some(node) => node,
            None => {
                assert!(flags.contains("O_CREAT"), "the model lacks a file: {call:?}");
                let in_flags =
                    flags.split_once("mode=").map(|(_, mode)| &mode[..mode.find([',', '}']).unwrap()]);
                let is_plain = mode.filter(|mode| mode.chars().all(|digit| digit.is_ascii_digit()));
                let mode = number(in_flags.or(is_plain.map(String::as_str)).unwrap()) as u32;
                self.make(place, false, mode)
            }
        };
        if flags.contains("O_TRUNC") && self.lengths[&node] > 0 {
            self.lengths.insert(node, 0);
            self.disk.steps.push(Step::Length { node, length: 0 });
        }
        let open = Open { node, at: 0, appends: flags.contains("O_APPEND") };
        self.open.insert(call.result, Rc::new(RefCell::new(open)));
    }

    /// The umask of this process is that of its children.
    fn make(&mut self, (holder, name): (Node, Vec<u8>), is_dir: bool, mode: u32) -> Node {
        let node = self.disk.origins.len();
        let mode = mode & !umask();
        self.disk.origins.push(Origin { is_dir, mode, content: Vec::new(), modified: None });
        self.lengths.insert(node, 0);
        self.names.insert((holder, name.clone()), node);
        self.disk.steps.push(Step::Name { holder, name, node });
        node
    }

    fn make_dir(&mut self, dir: &str, path: &str, mode: &str) {
        if let Some(place) = self.place(dir, &bytes(path)) {
            self.make(place, true, number(mode) as u32);
        }
    }

    fn remove(&mut self, dir: &str, path: &str) {
        if let Some(place) = self.place(dir, &bytes(path)) {
            let node = self.names.remove(&place).unwrap();
            self.disk.steps.push(Step::Unname { holder: place.0, node });
        }
    }

    fn rename(&mut self, [from_dir, from]: [&str; 2], [to_dir, to]: [&str; 2]) {
        let (from, to) = (self.place(from_dir, &bytes(from)), self.place(to_dir, &bytes(to)));
        let (Some(from), Some(to)) = (from, to) else { panic!("a rename across the root") };
        let node = self.names.remove(&from).unwrap();
        self.names.insert(to.clone(), node);
        self.disk.steps.push(Step::Move { from: from.0, to: to.0, name: to.1, node });
    }

    fn write(&mut self, fd: i64, at: Option<u64>, argument: &str, written: i64) {
        let Some(open) = self.open.get(&fd).cloned() else { return };
        let mut open = open.borrow_mut();
        let mut content = bytes(argument);
        content.truncate(written as usize);
        let length = self.lengths.get_mut(&open.node).unwrap();
        let begin = if open.appends { *length } else { at.unwrap_or(open.at) };
        let end = begin + content.len() as u64;
        *length = end.max(*length);
        if at.is_none() {
            open.at = end;
        }
        self.disk.steps.push(Step::Write { node: open.node, at: begin, bytes: content });
    }

    fn set_length(&mut self, fd: i64, length: u64) {
        if let Some(node) = self.node_of(fd) {
            self.lengths.insert(node, length);
            self.disk.steps.push(Step::Length { node, length });
        }
    }

    fn allocate(&mut self, fd: i64, mode: &str, at: u64, length: u64) {
        let Some(node) = self.node_of(fd) else { return };
        let end = at + length;
        if mode.contains("PUNCH_HOLE") || mode.contains("ZERO_RANGE") {
            let end = if mode.contains("KEEP_SIZE") { end.min(self.lengths[&node]) } else { end };
            let zeros = vec![0; end.saturating_sub(at) as usize];
            self.disk.steps.push(Step::Write { node, at, bytes: zeros });
        } else {
            assert!(matches!(mode, "0" | "FALLOC_FL_KEEP_SIZE"), "{mode}");
        }
        if !mode.contains("KEEP_SIZE") && end > self.lengths[&node] {
            self.set_length(fd, end);
        }
    }
}

fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:")).unwrap();
    u32::from_str_radix(mask.trim(), 8).unwrap()
}
