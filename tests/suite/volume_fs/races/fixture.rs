//! The fixture of a race: a volume in which each operation has a cell of its own, and outside it the same
//! names with other contents.

use super::operation::{Kind, Operation};
use crate::support::memory::memory_dir;
use crate::support::methods::OperandPaths;
use crate::support::snapshot::Snapshot;
use crate::support::volume::Volume;
use nix::libc;
use sandbox_volumes::store::SymlinkPolicy;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

pub const INSIDE: &str = "inside";
pub const OUTSIDE: &str = "outside";

/// The name of a file that each directory has outside and none has inside.
pub const ONLY_OUTSIDE: &str = "only-outside";

/// The name of a file that is there inside only.
const MISSING_OUTSIDE: &str = "missing-outside";

/// The name of a file inside and of a directory outside.
const ODD: &str = "odd";

/// How many directories of a tree are swapped.
const SUBS: usize = 4;

/// More than all that is in the volume.
pub const LARGE: usize = 4 << 20;

/// One operation's part of the volume.
pub struct Cell {
    pub name: String,
    pub outside: PathBuf,
    pub operands: OperandPaths,
    operation: Operation,
    held: Held,
    held_dir: Held,
}

/// An open directory. Its path leads to it whatever becomes of its name.
struct Held {
    path: PathBuf,
    _dir: File,
}

impl Held {
    fn open(path: PathBuf) -> Self {
        Held::of(File::open(path).unwrap())
    }

    fn of(dir: File) -> Self {
        Held { path: format!("/proc/self/fd/{}", dir.as_raw_fd()).into(), _dir: dir }
    }
}

/// In memory where there is room for it: it is the races that are to take the time, not the disk.
pub fn volume(options: Value) -> Volume {
    let volume = Volume::new_in(&memory_dir(), options);
    symlink(&volume.outside, stray(&volume)).unwrap();
    volume
}

/// The link that a volume's root is swapped for.
pub fn stray(volume: &Volume) -> PathBuf {
    volume.files.root().with_file_name("stray")
}

fn populate(dir: &Path, content: &str) {
    fs::create_dir_all(dir.join("sub/deep")).unwrap();
    for file in ["file", "sub/file", "sub/deep/file"] {
        if fs::symlink_metadata(dir.join(file)).is_err() {
            fs::write(dir.join(file), content).unwrap();
        }
    }
}

/// A tree whose directories have names that stand outside as well.
fn plant(tree: &Path, content: &str) {
    populate(tree, content);
    for number in 0..SUBS {
        let branch = tree.join(number.to_string());
        populate(&branch.join("sub"), content);
        for file in ["file", "large", ODD] {
            fs::write(branch.join(file), content).unwrap();
        }
    }
}

impl Cell {
    pub fn new(volume: &Volume, number: usize, operation: Operation) -> Self {
        let name = format!("cell-{number}");
        let (inside, outside) = (volume.files.root().join(&name), volume.outside.join(&name));
        let on_host = volume.outside.with_file_name("host").join(&name);
        for (place, content) in [(&inside, INSIDE), (&outside, OUTSIDE)] {
            for dir in [place.clone(), place.join("dir")] {
                populate(&dir, content);
            }
        }
        for place in [outside.clone(), outside.join("dir")] {
            for dir in [place.clone(), place.join("sub"), place.join("sub/deep"), place.join(ODD)] {
                fs::create_dir_all(&dir).unwrap();
                fs::write(dir.join(ONLY_OUTSIDE), OUTSIDE).unwrap();
            }
            let large = if operation.method == "usedBytes" { LARGE } else { 1 };
            fs::write(place.join("large"), vec![1; large]).unwrap();
        }
        // Who comes back from a directory that moved out looks for the names that are here.
        fs::write(inside.join("large"), INSIDE).unwrap();
        for place in [inside.clone(), inside.join("dir")] {
            for file in [ODD, MISSING_OUTSIDE] {
                fs::write(place.join(file), INSIDE).unwrap();
            }
        }
        fs::create_dir_all(&on_host).unwrap();
        for (place, content) in [(&inside, INSIDE), (&outside, OUTSIDE)] {
            fs::write(place.join(OperandPaths::FILE), content).unwrap();
            if operation.method == "copyTreeTo" {
                plant(&place.join(OperandPaths::TREE), content);
            }
        }
        fs::write(on_host.join(OperandPaths::SEED), INSIDE).unwrap();
        if operation.method.starts_with("copyTreeIn") {
            plant(&on_host.join(OperandPaths::SEED_TREE), INSIDE);
        }
        let operands = OperandPaths { in_volume: name.clone().into(), on_host, links: SymlinkPolicy::Skip };
        let held_dir = Held::open(inside.join("dir"));
        let cell = Cell { name, outside, operands, operation, held: Held::open(inside), held_dir };
        cell.link_to_outside(cell.swapped());
        match operation.kind {
            Kind::TreeGetsLinks | Kind::TreeMovesOut => cell.replant(),
            _ => cell.restore(None),
        }
        cell
    }

    /// What the second process does to this cell, as fast as it can.
    pub fn swaps(&self, volume: &Volume) -> Vec<Value> {
        let at = |path: &str| volume.files.root().join(&self.name).join(path);
        let moved = |name: &str| self.outside.join(name);
        let exchange_for_link = |entry: &str| json!(["exchange", at(entry), at(&link_to(entry))]);
        let subs = (0..SUBS).map(|number| at(&format!("tree/{number}/sub")));
        match self.operation.kind {
            Kind::MiddleBecomesLink | Kind::LeafBecomesLink => vec![exchange_for_link(self.swapped())],
            Kind::MiddleMovesOut => vec![json!(["out or back", at("dir"), moved("moved")])],
            Kind::RootBecomesLink => vec![json!(["exchange", volume.files.root(), stray(volume)])],
            Kind::TreeGetsLinks => subs.map(|sub| json!(["exchange", sub, at(&link_to("dir"))])).collect(),
            Kind::TreeMovesOut => {
                let outwards = |(number, sub)| json!(["out or back", sub, moved(&format!("moved-{number}"))]);
                subs.enumerate().map(outwards).collect()
            }
        }
    }

    /// All that is outside and is no part of the volume that was moved there.
    pub fn outside_entries(&self) -> Vec<(OsString, Snapshot)> {
        let names = fs::read_dir(&self.outside).unwrap().map(|entry| entry.unwrap().file_name());
        let of_outside = names.filter(|name| !name.to_string_lossy().starts_with("moved"));
        of_outside.map(|name| (name.clone(), Snapshot::of(&self.outside.join(name)))).collect()
    }

    /// Whether something of outside came into the volume, or to where it is copied out.
    pub fn holds_outside(&self) -> bool {
        let [copied, renamed] =
            [OperandPaths::COPIED, OperandPaths::RENAMED].map(|name| self.held.path.join(name));
        [copied, renamed, self.base().join("."), self.operands.on_host.clone()]
            .iter()
            .any(|place| holds_outside(place))
    }

    /// Where the paths of the operation begin whatever is swapped.
    fn base(&self) -> &Path {
        match self.operation.kind {
            Kind::MiddleBecomesLink => &self.held_dir.path,
            _ => &self.held.path,
        }
    }

    /// Puts back what an operation took away, and takes away what it made, so that the race goes on.
    pub fn restore(&self, made: Option<&str>) {
        let at = |name: &str| self.held.path.join(name);
        let made = made.map(|made| self.base().join(made));
        let copied = [
            at(OperandPaths::COPIED),
            at(OperandPaths::RENAMED),
            self.operands.on_host.join(OperandPaths::OUT),
        ];
        copied.iter().chain(&made).for_each(|made| discard(made));
        if fs::symlink_metadata(at(OperandPaths::FILE)).is_err() {
            fs::write(at(OperandPaths::FILE), INSIDE).unwrap();
        }
        match self.operation.kind {
            // The other methods leave it as it is.
            Kind::TreeGetsLinks | Kind::TreeMovesOut if !self.operation.takes_away() => {}
            Kind::TreeGetsLinks | Kind::TreeMovesOut => self.replant(),
            Kind::LeafBecomesLink => self.renew(self.swapped()),
            _ => populate(self.base(), INSIDE),
        }
    }

    /// The entry that a link is swapped for.
    fn swapped(&self) -> &'static str {
        match self.operation.kind {
            Kind::LeafBecomesLink => self.operation.path,
            _ => "dir",
        }
    }

    fn link_to_outside(&self, entry: &str) {
        symlink(self.outside.join(entry), self.held.path.join(link_to(entry))).unwrap();
    }

    /// Makes the entry and the link that it is swapped for again, if one is gone.
    fn renew(&self, entry: &str) {
        let at = |path: &str| self.held.path.join(path);
        let link = link_to(entry);
        let [one, other] = [entry, &link].map(|name| fs::symlink_metadata(at(name)));
        // Exchanged between the two looks, both seem the same.
        let kinds =
            [one.as_ref().ok(), other.as_ref().ok()].map(|found| found.map(|found| found.is_symlink()));
        if !kinds.contains(&None) && kinds[0] != kinds[1] {
            return;
        }
        symlink(self.outside.join(entry), at("fresh-link")).unwrap();
        put(&at("fresh-link"), &at(&link));
        match entry {
            "dir" => populate(&at("fresh"), INSIDE),
            _ => fs::write(at("fresh"), INSIDE).unwrap(),
        }
        put(&at("fresh"), &at(entry));
    }

    /// Plants `tree`, with `sub` in each of its directories. It appears as a whole, so that the swapper never sees a
    /// part of it.
    fn replant(&self) {
        let [tree, old, next] = ["tree", "old", "next"].map(|name| self.held.path.join(name));
        let _not_there = fs::rename(&tree, &old);
        // What was being swapped may come back.
        for gone in [old, self.held.path.join(link_to("dir"))] {
            while fs::symlink_metadata(&gone).is_ok() {
                discard(&gone);
            }
        }
        self.link_to_outside("dir");
        plant(&next, INSIDE);
        fs::rename(&next, &tree).unwrap();
    }
}

/// The name of the link that an entry is swapped for.
fn link_to(entry: &str) -> String {
    format!("link-to-{entry}")
}

/// Whether something of outside is at or below a place. No link is followed, also while entries are swapped.
fn holds_outside(place: &Path) -> bool {
    let mut looking = OpenOptions::new();
    looking.read(true).custom_flags(libc::O_NOFOLLOW);
    let Ok(mut file) = looking.open(place) else { return false };
    if !file.metadata().unwrap().is_dir() {
        let mut content = String::new();
        file.read_to_string(&mut content).unwrap();
        return content.contains(OUTSIDE);
    }
    let dir = Held::of(file);
    let mut names = fs::read_dir(&dir.path).unwrap().map(|entry| entry.unwrap().file_name());
    names.any(|name| name == ONLY_OUTSIDE || holds_outside(&dir.path.join(name)))
}

/// Moves a fresh entry to its place, whatever stands there, and whatever the other process puts there in between.
fn put(fresh: &Path, place: &Path) {
    while fs::rename(fresh, place).is_err() {
        discard(place);
    }
}

/// Removes an entry of any kind, unless it is gone or was swapped.
pub fn discard(place: &Path) {
    if fs::remove_file(place).is_err() {
        let _gone = fs::remove_dir_all(place);
    }
}

/// The cells of some operations in one volume.
pub fn cells(volume: &Volume, operations: &[Operation]) -> Vec<Cell> {
    operations.iter().enumerate().map(|(number, operation)| Cell::new(volume, number, *operation)).collect()
}
