//! Measuring and deleting whole trees, however deep, wide or odd they are.

mod chase;

use crate::faulty::{Check, FaultyVolume, LEFT};
use crate::support::child::in_child;
use crate::support::memory::memory_dir;
use crate::support::methods::{Backend, Refusal};
use crate::support::openat2;
use crate::support::read_only::in_read_only_namespace;
use crate::support::volume::Volume;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, fstat, mkdirat};
use nix::unistd::{dup, mkfifo, syncfs};
use sandbox_volumes::error::ErrorKind;
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

impl Volume {
    fn remove_all(&self, path: &str) {
        self.files.remove_all(path, &CancelToken::default()).unwrap();
    }

    fn remove_whole(&self) {
        self.store.remove(&self.name, &CancelToken::default()).unwrap();
        assert!(!self.files.root().exists());
        let trash = self.files.root().with_file_name(".trash");
        assert_eq!(fs::read_dir(trash).unwrap().count(), 0);
    }
}

/// The same numbers every time, which is what a failing test is to be repeated with.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

fn du(path: &Path) -> u64 {
    let output = Command::new("du").args(["-s", "--block-size=1"]).arg(path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// Fills `root` with files of all kinds, some of them sparse, linked twice or leading to `outside`.
fn grow(root: &Path, outside: &Path, numbers: &mut Numbers) {
    let mut dirs = vec![root.to_owned()];
    let mut files = Vec::new();
    for at in 0..400 {
        let dir = dirs[numbers.below(dirs.len() as u64) as usize].clone();
        let path = dir.join(format!("{at}"));
        match numbers.below(10) {
            0..=2 => {
                fs::create_dir(&path).unwrap();
                dirs.push(path);
            }
            3 if !files.is_empty() => {
                let old: &std::path::PathBuf = &files[numbers.below(files.len() as u64) as usize];
                fs::hard_link(old, &path).unwrap();
            }
            4 => symlink(outside, &path).unwrap(),
            5 => mkfifo(&path, Mode::S_IRWXU).unwrap(),
            6 => {
                let file = File::create(&path).unwrap();
                file.write_all_at(b"data", numbers.below(1 << 32)).unwrap();
                file.set_len(5 << 30).unwrap();
                files.push(path);
            }
            _ => {
                fs::write(&path, vec![1; numbers.below(100_000) as usize]).unwrap();
                files.push(path);
            }
        }
    }
}

/// Measures random trees, in which files are sparse and have several names, and compares with what `du` counts.
fn check_used_bytes(measure: impl Fn(&Volume) -> u64) -> Result<(), String> {
    for seed in [1, 0xfeed, 0x5eed_5eed] {
        let volume = Volume::new(json!({}));
        fs::write(volume.outside.join("large"), vec![1; 8 << 20]).unwrap();
        grow(volume.files.root(), &volume.outside, &mut Numbers(seed));
        syncfs(File::open(volume.files.root()).unwrap()).unwrap();
        let (used, expected) = (measure(&volume), du(volume.files.root()));
        if used != expected {
            return Err(format!("seed {seed}: {used} bytes, and {expected} by du"));
        }
        volume.remove_whole();
        assert_eq!(fs::metadata(volume.outside.join("large")).unwrap().len(), 8 << 20);
    }
    Ok(())
}

#[test]
fn case_44_the_bytes_used_are_those_that_du_counts() {
    check_used_bytes(Volume::used_bytes).unwrap();
}

/// Adds up something of every entry.
fn sum(place: &Path, of_each: &dyn Fn(&fs::Metadata) -> u64) -> u64 {
    let found = fs::symlink_metadata(place).unwrap();
    let below = match found.is_dir() {
        true => fs::read_dir(place).unwrap().map(|entry| sum(&entry.unwrap().path(), of_each)).sum(),
        false => 0,
    };
    of_each(&found) + below
}

#[test]
fn case_44_faulty_measuring_counts_every_name_lengths_or_what_links_lead_to() {
    in_read_only_namespace(|| {
        let blocks = |found: &fs::Metadata| found.blocks() * 512;
        let every_name = |volume: &Volume| sum(volume.files.root(), &blocks);
        let lengths = |volume: &Volume| sum(volume.files.root(), &fs::Metadata::len);
        let link_targets = |volume: &Volume| {
            let output = Command::new("du").args(["-sL", "--block-size=1"]).arg(volume.files.root()).output();
            let text = String::from_utf8(output.unwrap().stdout).unwrap();
            text.split_whitespace().next().unwrap().parse().unwrap()
        };
        check_used_bytes(every_name).unwrap_err();
        check_used_bytes(lengths).unwrap_err();
        check_used_bytes(link_targets).unwrap_err();
    });
}

#[test]
fn case_44_what_links_lead_to_is_not_counted() {
    let volume = Volume::new(json!({}));
    let empty = volume.used_bytes();
    fs::write(volume.outside.join("large"), vec![1; 8 << 20]).unwrap();
    symlink(&volume.outside, volume.files.root().join("dir")).unwrap();
    symlink(volume.outside.join("large"), volume.files.root().join("file")).unwrap();
    symlink("/", volume.files.root().join("root")).unwrap();
    symlink(".", volume.files.root().join("self")).unwrap();
    assert_eq!(volume.used_bytes(), empty);
}

/// Makes `levels` directories, each in the one before it, and with `siblings` each beside another one.
fn deepen(root: &Path, levels: usize, name: &str, siblings: bool) {
    let mut dir = OwnedFd::from(File::open(root).unwrap());
    let sibling = name.replacen('d', "e", 1);
    for _ in 0..levels {
        mkdirat(&dir, name, Mode::S_IRWXU).unwrap();
        if siblings {
            mkdirat(&dir, sibling.as_str(), Mode::S_IRWXU).unwrap();
        }
        dir = openat(&dir, name, OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).unwrap();
    }
    let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    File::from(openat(&dir, "f", flags, Mode::S_IRWXU).unwrap()).write_all_at(b"x", 0).unwrap();
}

/// Measures a directory with one descriptor for each level, as who recurses does.
fn measure_by_recursion(dir: OwnedFd) -> Result<u64, Errno> {
    let mut used = fstat(&dir)?.st_blocks as u64 * 512;
    for entry in nix::dir::Dir::from_fd(dup(&dir)?)?.iter() {
        let name = entry?.file_name().to_owned();
        if [c".", c".."].contains(&name.as_c_str()) {
            continue;
        }
        let flags = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let below = openat(&dir, name.as_c_str(), flags, Mode::empty())?;
        used += match fstat(&below)?.st_mode & libc::S_IFMT {
            libc::S_IFDIR => measure_by_recursion(below)?,
            _ => fstat(&below)?.st_blocks as u64 * 512,
        };
    }
    Ok(used)
}

/// Measures and deletes deep trees, with few descriptors and little stack.
fn check_deep(
    levels: usize,
    name: &str,
    siblings: bool,
    measure: fn(&Volume) -> Result<u64, Errno>,
) -> Result<(), String> {
    setrlimit(Resource::RLIMIT_NOFILE, 1024, 1024).unwrap();
    // In memory, where there is room for it: making that many directories takes a disk its time.
    let volume = Volume::new_in(&memory_dir(), json!({}));
    let root = volume.files.root().clone();
    let work = move || {
        let allocated = |path: &Path| fs::metadata(path).unwrap().blocks() * 512;
        let sample = volume.outside.join("f");
        fs::write(&sample, "x").unwrap();
        let (per_directory, per_file) = (allocated(&root), allocated(&sample));
        let start = Instant::now();
        deepen(&root, levels, name, siblings);
        println!("{levels} levels made in {:?}", start.elapsed());
        let start = Instant::now();
        let used = measure(&volume);
        println!("measured in {:?}: {used:?} bytes", start.elapsed());
        let directories = if siblings { 2 * levels } else { levels } as u64 + 1;
        let expected = directories * per_directory + per_file;
        let start = Instant::now();
        volume.remove_all(name);
        println!("deleted in {:?}", start.elapsed());
        assert!(!volume.files.exists(name).unwrap());
        volume.remove_all(&name.replacen('d', "e", 1));
        deepen(&root, levels, name, siblings);
        let start = Instant::now();
        volume.remove_whole();
        println!("removed with its volume in {:?}", start.elapsed());
        assert_eq!(fs::read_to_string(&sample).unwrap(), "x");
        // Only once all is gone, because nothing else could delete it.
        if used == Ok(expected) { Ok(()) } else { Err(format!("{used:?} bytes, not {expected}")) }
    };
    thread::scope(|scope| {
        thread::Builder::new().stack_size(256 << 10).spawn_scoped(scope, work).unwrap().join().unwrap()
    })
}

fn check_deep_really(levels: usize, name: &str, siblings: bool) {
    check_deep(levels, name, siblings, |volume| Ok(volume.used_bytes())).unwrap();
}

#[test]
fn faulty_measuring_of_a_deep_tree_has_no_descriptors_left() {
    in_read_only_namespace(|| {
        let measured = check_deep(1_200, "d", false, |volume| {
            let top = File::open(volume.files.root()).unwrap();
            // The stack is the first to end, and the process with it.
            let with_room = thread::Builder::new().stack_size(64 << 20);
            with_room.spawn(|| measure_by_recursion(top.into())).unwrap().join().unwrap()
        });
        let problem = measured.unwrap_err();
        assert!(problem.contains("EMFILE"), "{problem}");
    });
}

#[test]
fn case_22_a_tree_of_12_000_levels_is_measured_and_deleted() {
    in_child(|| check_deep_really(12_000, "d", false));
}

#[test]
fn case_22_a_tree_of_100_000_levels_is_measured_and_deleted() {
    in_child(|| check_deep_really(100_000, "d", false));
}

#[test]
fn case_22_a_deep_tree_with_long_names_and_siblings_on_every_level_is_measured_and_deleted() {
    in_child(|| check_deep_really(12_000, &"d".repeat(255), true));
}

#[test]
fn deep_trees_are_too_deep_for_faulty_measuring_and_deleting() {
    in_read_only_namespace(|| {
        let volume = Volume::new(json!({}));
        deepen(volume.files.root(), 40, &"d".repeat(255), false);
        for check in Check::ALL {
            let faulty = FaultyVolume::in_volume(&volume, check);
            for method in ["usedBytes", "removeAll"] {
                let result = faulty.call(method, OsStr::new(&"d".repeat(255)));
                let Refusal { code, named, message } = result.unwrap_err();
                assert!(["ENAMETOOLONG", LEFT].contains(&code.as_str()), "{method} of {named:?}: {message}");
            }
        }
        for method in ["usedBytes", "removeAll"] {
            volume.call(method, OsStr::new(&"d".repeat(255))).unwrap();
        }
    });
}

#[test]
fn a_directory_of_20_000_files_is_measured_and_deleted() {
    let volume = Volume::new(json!({}));
    let dir = volume.files.root().join("wide");
    fs::create_dir(&dir).unwrap();
    let before = volume.used_bytes();
    for at in 0..20_000 {
        fs::write(dir.join(format!("file-{at}")), if at % 100 == 0 { "x" } else { "" }).unwrap();
    }
    syncfs(File::open(&dir).unwrap()).unwrap();
    assert_eq!(volume.used_bytes(), du(volume.files.root()));
    volume.remove_all("wide");
    assert!(!dir.exists());
    assert!(volume.used_bytes() < before + 4096);
    fs::create_dir(&dir).unwrap();
    for at in 0..20_000 {
        fs::create_dir(dir.join(format!("dir-{at}"))).unwrap();
    }
    volume.remove_whole();
}

#[test]
fn a_directory_of_more_entries_than_one_pass_takes_is_deleted() {
    let volume = Volume::new(json!({}));
    let dir = volume.files.root().join("wide");
    fs::create_dir(&dir).unwrap();
    for at in 0..2 {
        // A file has no more than 65,000 names on ext4.
        fs::write(dir.join(format!("{at}")), "x").unwrap();
        (0..60_000).for_each(|name| {
            fs::hard_link(dir.join(format!("{at}")), dir.join(format!("{at}-{name}"))).unwrap()
        });
    }
    volume.remove_all("wide");
    assert_eq!(fs::read_dir(volume.files.root()).unwrap().count(), 0);
}

#[test]
fn who_remove_the_same_tree_at_once_all_succeed() {
    let volume = Volume::new(json!({}));
    let tree = volume.files.root().join("tree");
    for dir in 0..2000 {
        fs::create_dir_all(tree.join(format!("{dir}/sub"))).unwrap();
        fs::write(tree.join(format!("{dir}/file")), "x").unwrap();
    }
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| volume.remove_all("tree"));
        }
    });
    assert!(!tree.exists());
}

#[test]
fn case_18_trees_are_measured_and_deleted_where_openat2_is_missing() {
    openat2::run_where_it_fails(Errno::ENOSYS, &["case_44", "case_22_a_tree_of_12_000"]);
}

#[test]
fn measuring_can_be_cancelled() {
    let volume = Volume::new(json!({}));
    let cancel = CancelToken::default();
    cancel.cancel();
    assert_eq!(volume.store.get(&volume.name, &cancel).unwrap_err().kind(), ErrorKind::Aborted);
}
