//! Where a race takes place: a volume in which each operation has a cell of its own, and outside it the same
//! names with other contents.

use crate::operation::{Kind, Operation};
use crate::snapshot::Snapshot;
use crate::volume::Volume;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

pub const INSIDE: &str = "inside";
pub const OUTSIDE: &str = "outside";

/// More than all that is in the volume.
pub const LARGE: usize = 4 << 20;

/// One operation's part of the volume.
pub struct Cell {
    pub name: String,
    pub outside: PathBuf,
    kind: Kind,
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
        let dir = File::open(path).unwrap();
        Held { path: format!("/proc/self/fd/{}", dir.as_raw_fd()).into(), _dir: dir }
    }
}

/// In memory where there is room for it: it is the races that are to take the time, not the disk.
pub fn volume() -> Volume {
    let shared_memory = Path::new("/dev/shm");
    if shared_memory.is_dir() {
        let _is_set_already = tempfile::env::override_temp_dir(shared_memory);
    }
    let volume = Volume::new(json!({}));
    symlink(&volume.outside, stray(&volume)).unwrap();
    volume
}

/// The link that a volume's root is swapped for.
fn stray(volume: &Volume) -> PathBuf {
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

impl Cell {
    pub fn new(volume: &Volume, number: usize, operation: &Operation) -> Self {
        let name = format!("cell-{number}");
        let (inside, outside) = (volume.files.root().join(&name), volume.outside.join(&name));
        for (place, content) in [(&inside, INSIDE), (&outside, OUTSIDE)] {
            populate(place, content);
            populate(&place.join("dir"), content);
        }
        for place in [outside.clone(), outside.join("dir")] {
            fs::write(place.join("only-outside"), OUTSIDE).unwrap();
            if operation.method == "usedBytes" {
                fs::write(place.join("large"), vec![1; LARGE]).unwrap();
            }
        }
        for entry in ["dir", "file"] {
            symlink(outside.join(entry), inside.join(format!("link-to-{entry}"))).unwrap();
        }
        let held_dir = Held::open(inside.join("dir"));
        let cell = Cell { name, outside, kind: operation.kind, held: Held::open(inside), held_dir };
        cell.restore(None);
        cell
    }

    /// What the second process does to this cell, as fast as it can.
    pub fn swaps(&self, volume: &Volume) -> Vec<Value> {
        let at = |path: &str| volume.files.root().join(&self.name).join(path);
        let moved = |name: &str| self.outside.join(name);
        let exchange_for_link = |entry: &str| json!(["exchange", at(entry), at(&format!("link-to-{entry}"))]);
        let subs = (0..4).map(|number| at(&format!("tree/{number}/sub")));
        match self.kind {
            Kind::MiddleBecomesLink => vec![exchange_for_link("dir")],
            Kind::LeafBecomesLink => vec![exchange_for_link("dir"), exchange_for_link("file")],
            Kind::MiddleMovesOut => vec![json!(["there and back", at("dir"), moved("moved")])],
            Kind::RootBecomesLink => vec![json!(["exchange", volume.files.root(), stray(volume)])],
            Kind::TreeGetsLinks => subs.map(|sub| json!(["exchange", sub, at("link-to-dir")])).collect(),
            Kind::TreeMovesOut => subs.map(|sub| json!(["away", sub, moved("moved-")])).collect(),
        }
    }

    /// All that is outside and is no part of the volume that was moved there.
    pub fn guarded(&self) -> Vec<(OsString, Snapshot)> {
        let names = fs::read_dir(&self.outside).unwrap().map(|entry| entry.unwrap().file_name());
        let of_outside = names.filter(|name| !name.to_string_lossy().starts_with("moved"));
        of_outside.map(|name| (name.clone(), Snapshot::of(&self.outside.join(name)))).collect()
    }

    /// Puts back what an operation took away, and takes away what it made, so that the race goes on.
    pub fn restore(&self, made: Option<&str>) {
        let base = match self.kind {
            Kind::MiddleBecomesLink => &self.held_dir.path,
            _ => &self.held.path,
        };
        if let Some(made) = made {
            let made = base.join(made);
            let _not_made = fs::remove_file(&made).or_else(|_| fs::remove_dir_all(&made));
        }
        match self.kind {
            Kind::TreeGetsLinks | Kind::TreeMovesOut => self.plant(),
            Kind::LeafBecomesLink => self.renew(),
            _ => populate(base, INSIDE),
        }
    }

    /// Makes the file and the directory, and the links that they are swapped for, anew where one is gone.
    fn renew(&self) {
        let at = |path: &str| self.held.path.join(path);
        for entry in ["file", "dir"] {
            let link = format!("link-to-{entry}");
            let [one, other] = [entry, &link].map(|name| fs::symlink_metadata(at(name)));
            // Exchanged between the two looks, both seem the same.
            let kinds =
                [one.as_ref().ok(), other.as_ref().ok()].map(|found| found.map(|found| found.is_symlink()));
            if !kinds.contains(&None) && kinds[0] != kinds[1] {
                continue;
            }
            symlink(self.outside.join(entry), at("fresh-link")).unwrap();
            put(&at("fresh-link"), &at(&link));
            match entry {
                "file" => fs::write(at("fresh"), INSIDE).unwrap(),
                _ => populate(&at("fresh"), INSIDE),
            }
            put(&at("fresh"), &at(entry));
        }
    }

    /// Plants `tree`, with `sub` in each of its directories. Nobody can swap anything in it before it stands
    /// there whole.
    fn plant(&self) {
        let [tree, old, next, link] =
            ["tree", "old", "next", "link-to-dir"].map(|name| self.held.path.join(name));
        if fs::rename(&tree, &old).is_ok() {
            // A swap that was under way may still change it.
            while fs::symlink_metadata(&old).is_ok() {
                discard(&old);
            }
        }
        discard(&link);
        symlink(self.outside.join("dir"), &link).unwrap();
        for number in 0..4 {
            populate(&next.join(format!("{number}/sub")), INSIDE);
        }
        fs::rename(&next, &tree).unwrap();
    }
}

/// Moves a fresh entry to its place, whatever stands there, and whatever the other process puts there meanwhile.
fn put(fresh: &Path, place: &Path) {
    while fs::rename(fresh, place).is_err() {
        discard(place);
    }
}

/// Removes an entry of any kind; one that is gone, or that was swapped meanwhile, is fine.
fn discard(place: &Path) {
    if fs::remove_file(place).is_err() {
        let _gone = fs::remove_dir_all(place);
    }
}

/// The cells of some operations in one volume.
pub fn cells(volume: &Volume, operations: &[Operation]) -> Vec<Cell> {
    operations.iter().enumerate().map(|(number, operation)| Cell::new(volume, number, operation)).collect()
}
