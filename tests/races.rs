//! What becomes of an operation while somebody swaps its directory or file for a link to outside, as fast as
//! they can: it meets what is inside or fails in an allowed way, and never gets out.
//!
//! `RACE_SECONDS` says how long each race runs; 2 s by default.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test looks at the disk from outside")]

#[path = "support/openat2.rs"]
mod openat2;
#[path = "support/report.rs"]
mod report;
#[path = "support/skip.rs"]
mod skip;
#[path = "support/snapshot.rs"]
mod snapshot;
#[path = "support/volume.rs"]
mod volume;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use report::report;
use sandbox_volumes::content::WriteOptions;
use sandbox_volumes::error::Error;
use sandbox_volumes::model::Cancel;
use serde_json::json;
use snapshot::Snapshot;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use volume::Volume;

/// What racing may make of an operation, besides meeting what is inside.
const ALLOWED: [&str; 5] = ["ERR_PATH_ESCAPE", "ENOENT", "ENOTDIR", "ELOOP", "EBUSY"];

const SECRET: &[u8] = b"outside";

fn duration() -> Duration {
    let seconds = std::env::var("RACE_SECONDS").map_or(2.0, |text| text.parse().unwrap());
    Duration::from_secs_f64(seconds)
}

/// A volume in which `dir` and `file` can be swapped for links to outside, where the same names stand.
fn arena() -> Volume {
    let volume = Volume::new(json!({}));
    let root = volume.files.root();
    for (place, content) in [(root, &b"inside"[..]), (&volume.outside, SECRET)] {
        fs::create_dir_all(place.join("dir/sub/deep")).unwrap();
        for file in ["file", "dir/file", "dir/sub/file", "dir/sub/deep/file"] {
            fs::write(place.join(file), content).unwrap();
        }
    }
    fs::write(volume.outside.join("dir/only-outside"), SECRET).unwrap();
    fs::write(volume.outside.join("dir/large"), vec![1; 4 << 20]).unwrap();
    symlink(volume.outside.join("dir"), root.join("link-to-dir")).unwrap();
    symlink(volume.outside.join("file"), root.join("link-to-file")).unwrap();
    volume
}

fn exchange(one: &Path, other: &Path) -> bool {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).is_ok()
}

/// What the oracle says of one operation: what it came to, or how it got out.
type Verdict = Result<String, String>;

/// Judges an operation by what it gave.
fn judge<T>(result: Result<T, Error>, inside: impl Fn(&T) -> bool) -> Verdict {
    match result {
        Ok(value) if inside(&value) => Ok("inside".to_owned()),
        Ok(_) => Err("it met what is outside".to_owned()),
        Err(error) if ALLOWED.contains(&error.code().as_str()) => Ok(error.code()),
        Err(error) => Err(format!("it failed with {error}")),
    }
}

/// Repeats `operation` while another thread repeats `swap`, until the time is up or something got out.
fn race(
    volume: &Volume,
    time: Duration,
    swap: impl Fn() -> bool + Sync,
    mut operation: impl FnMut() -> Verdict,
) -> Result<BTreeMap<String, u64>, String> {
    let outside = Snapshot::of(&volume.outside);
    let done = AtomicBool::new(false);
    let started = AtomicBool::new(false);
    let (result, swaps) = thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0u64;
            while !done.load(Ordering::Relaxed) {
                swaps += u64::from(swap());
                started.store(true, Ordering::Relaxed);
            }
            swaps
        });
        while !started.load(Ordering::Relaxed) {
            thread::yield_now();
        }
        let mut verdicts = BTreeMap::new();
        let deadline = Instant::now() + time;
        let result = loop {
            match operation() {
                Ok(verdict) => *verdicts.entry(verdict).or_insert(0) += 1,
                Err(problem) => break Err(problem),
            }
            if Instant::now() > deadline {
                break Ok(verdicts);
            }
        };
        done.store(true, Ordering::Relaxed);
        (result, swapper.join().unwrap())
    });
    match &result {
        Ok(verdicts) => {
            report(format_args!("{swaps} swaps, {} operations: {verdicts:?}", verdicts.values().sum::<u64>()))
        }
        Err(problem) => report(format_args!("{swaps} swaps: {problem}")),
    }
    let verdicts = result?;
    assert!(swaps > 0);
    match Snapshot::of(&volume.outside) == outside {
        true => Ok(verdicts),
        false => Err("the outside changed".to_owned()),
    }
}

/// Case 15: `dir` is swapped for a link to outside and back.
fn race_for_dir(volume: &Volume, operation: impl FnMut() -> Verdict) {
    let (dir, link) = (volume.files.root().join("dir"), volume.files.root().join("link-to-dir"));
    race(volume, duration(), || exchange(&dir, &link), operation).unwrap();
}

/// Case 16: `file` is swapped for a link to outside and back.
fn race_for_file(volume: &Volume, operation: impl FnMut() -> Verdict) {
    let (file, link) = (volume.files.root().join("file"), volume.files.root().join("link-to-file"));
    race(volume, duration(), || exchange(&file, &link), operation).unwrap();
}

fn read(volume: &Volume, path: &str) -> Verdict {
    let read = volume.files.open(path).and_then(|file| file.read(&Cancel::default()));
    judge(read, |content| content == b"inside")
}

/// Writes, and sees at once what became of the file of that name outside.
fn write(volume: &Volume, path: &str, atomic: bool) -> Verdict {
    let options = WriteOptions { atomic, ..WriteOptions::default() };
    let written = volume.files.write(path, b"inside", options, &Cancel::default());
    written_outside(volume, path, judge(written, |()| true))
}

fn written_outside(volume: &Volume, path: &str, verdict: Verdict) -> Verdict {
    match fs::read(volume.outside.join(path)).unwrap() == SECRET {
        true => verdict,
        false => Err("it wrote outside".to_owned()),
    }
}

#[test]
fn case_15_read_through_a_directory_that_becomes_a_link() {
    let volume = arena();
    race_for_dir(&volume, || read(&volume, "dir/file"));
}

#[test]
fn case_15_read_through_a_directory_that_becomes_a_link_and_back_up_again() {
    let volume = arena();
    race_for_dir(&volume, || read(&volume, "dir/sub/../sub/deep/../file"));
}

#[test]
fn case_15_write_through_a_directory_that_becomes_a_link() {
    let volume = arena();
    race_for_dir(&volume, || write(&volume, "dir/file", false));
}

#[test]
fn case_15_write_atomically_through_a_directory_that_becomes_a_link() {
    let volume = arena();
    race_for_dir(&volume, || write(&volume, "dir/sub/file", true));
}

#[test]
fn case_15_write_new_files_through_a_directory_that_becomes_a_link() {
    let volume = arena();
    let mut count = 0;
    race_for_dir(&volume, || {
        count += 1;
        let name = format!("dir/new-{}", count % 100);
        let options = WriteOptions { atomic: count % 2 == 0, ..WriteOptions::default() };
        judge(volume.files.write(&name, b"inside", options, &Cancel::default()), |()| true)
    });
}

#[test]
fn case_15_mkdir_through_a_directory_that_becomes_a_link() {
    let volume = arena();
    let mut count = 0;
    race_for_dir(&volume, || {
        count += 1;
        judge(volume.files.mkdir(format!("dir/sub/new-{}/a/b", count % 1000), &Cancel::default()), |()| true)
    });
}

#[test]
fn case_15_exists_through_a_directory_that_becomes_a_link() {
    let volume = arena();
    race_for_dir(&volume, || judge(volume.files.exists("dir/only-outside"), |there| !there));
}

#[test]
fn case_15_remove_through_a_directory_that_becomes_a_link() {
    let volume = arena();
    race_for_dir(&volume, || {
        let verdict = judge(volume.files.remove("dir/sub/file", &Cancel::default()), |()| true);
        let _back =
            volume.files.write("dir/sub/file", b"inside", WriteOptions::default(), &Cancel::default());
        verdict
    });
}

#[test]
fn case_15_remove_all_through_a_directory_that_becomes_a_link() {
    let volume = arena();
    race_for_dir(&volume, || {
        let verdict = judge(volume.files.remove_all("dir/sub", &Cancel::default()), |()| true);
        let _back = volume.files.mkdir("dir/sub/deep", &Cancel::default());
        verdict
    });
}

/// Plants `tree` anew, with `sub` in each of its directories, and the link that is swapped with them. Nobody
/// can swap anything in it before it stands there whole.
fn plant(volume: &Volume) {
    let [tree, old, next, link] =
        ["tree", "old", "next", "link-to-dir"].map(|name| volume.files.root().join(name));
    if fs::rename(&tree, &old).is_ok() {
        fs::remove_dir_all(&old).unwrap();
    }
    match fs::symlink_metadata(&link) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&link).unwrap(),
        Ok(_) => fs::remove_file(&link).unwrap(),
        Err(_) => {}
    }
    symlink(volume.outside.join("dir"), &link).unwrap();
    for at in 0..4 {
        fs::create_dir_all(next.join(format!("{at}/sub/sub/deep"))).unwrap();
        for file in ["sub/file", "sub/large", "sub/sub/file", "sub/sub/deep/file"] {
            fs::write(next.join(format!("{at}/{file}")), b"inside").unwrap();
        }
    }
    fs::rename(&next, &tree).unwrap();
}

#[test]
fn case_15_remove_all_of_a_tree_in_which_directories_become_links() {
    let volume = arena();
    let [tree, link] = ["tree", "link-to-dir"].map(|name| volume.files.root().join(name));
    let swap = || (0..4).filter(|at| exchange(&tree.join(format!("{at}/sub")), &link)).count() > 0;
    race(&volume, duration(), swap, || {
        plant(&volume);
        judge(volume.files.remove_all("tree", &Cancel::default()), |()| true)
    })
    .unwrap();
}

#[test]
fn case_15_measure_a_volume_in_which_a_directory_becomes_a_link() {
    let volume = arena();
    race_for_dir(&volume, || {
        let info = volume.store.get(&volume.name, &Cancel::default());
        judge(info.map(|info| info.used_bytes), |used| *used < 4 << 20)
    });
}

#[test]
fn case_16_read_a_file_that_becomes_a_link() {
    let volume = arena();
    race_for_file(&volume, || read(&volume, "file"));
}

#[test]
fn case_16_write_a_file_that_becomes_a_link() {
    let volume = arena();
    race_for_file(&volume, || write(&volume, "file", false));
}

#[test]
fn case_16_write_atomically_a_file_that_becomes_a_link() {
    let volume = arena();
    let root = volume.files.root();
    // An atomic write may replace the link; both are put back each time, so that the race goes on.
    race_for_file(&volume, || {
        symlink(volume.outside.join("file"), root.join("fresh-link")).unwrap();
        fs::rename(root.join("fresh-link"), root.join("link-to-file")).unwrap();
        fs::write(root.join("fresh"), b"inside").unwrap();
        fs::rename(root.join("fresh"), root.join("file")).unwrap();
        write(&volume, "file", true)
    });
}

#[test]
fn case_17_remove_all_of_a_tree_out_of_which_directories_are_moved() {
    let volume = arena();
    let tree = volume.files.root().join("tree");
    let parked = volume.outside.with_file_name("parked");
    fs::create_dir(&parked).unwrap();
    fs::write(parked.join("file"), SECRET).unwrap();
    fs::write(parked.join("large"), SECRET).unwrap();
    let moved = AtomicU64::new(0);
    let swap = || {
        let move_out = |at: &u64| {
            let number = moved.load(Ordering::Relaxed);
            let gone = fs::rename(tree.join(format!("{at}/sub")), parked.join(number.to_string())).is_ok();
            moved.fetch_add(u64::from(gone), Ordering::Relaxed);
            gone
        };
        (0..4).filter(move_out).count() > 0
    };
    race(&volume, duration(), swap, || {
        plant(&volume);
        judge(volume.files.remove_all("tree", &Cancel::default()), |()| true)
    })
    .unwrap();
    for file in ["file", "large"] {
        assert_eq!(fs::read(parked.join(file)).unwrap(), SECRET);
    }
    let directories = (0..moved.load(Ordering::Relaxed)).filter(|n| parked.join(n.to_string()).is_dir());
    assert_eq!(
        directories.count() as u64,
        moved.load(Ordering::Relaxed),
        "what was moved out is still there"
    );
}

#[test]
fn case_17_measure_a_volume_out_of_which_a_directory_is_moved() {
    let volume = arena();
    let dir = volume.files.root().join("dir/sub");
    let parked = volume.outside.with_file_name("parked");
    let swap = || fs::rename(&dir, &parked).is_ok() && fs::rename(&parked, &dir).is_ok();
    race(&volume, duration(), swap, || {
        let info = volume.store.get(&volume.name, &Cancel::default());
        judge(info.map(|info| info.used_bytes), |used| *used < 4 << 20)
    })
    .unwrap();
}

/// How it is done without care: looks where the path leads, and opens it by name if that is inside.
fn naively<T>(volume: &Volume, path: &str, open: impl Fn(&Path) -> std::io::Result<T>) -> Option<T> {
    let root = fs::canonicalize(volume.files.root()).unwrap();
    let real = fs::canonicalize(root.join(path)).ok()?;
    real.starts_with(&root).then(|| open(&root.join(path)).ok())?
}

const LONG_ENOUGH: Duration = Duration::from_secs(60);

#[test]
fn the_oracle_catches_a_naive_read() {
    let volume = arena();
    let (dir, link) = (volume.files.root().join("dir"), volume.files.root().join("link-to-dir"));
    let caught = race(
        &volume,
        LONG_ENOUGH,
        || exchange(&dir, &link),
        || {
            judge(Ok(naively(&volume, "dir/file", |path| fs::read(path))), |content| {
                content.as_ref().is_none_or(|content| content == b"inside")
            })
        },
    );
    assert_eq!(caught.unwrap_err(), "it met what is outside");
}

#[test]
fn the_oracle_catches_a_naive_write() {
    let volume = arena();
    let (dir, link) = (volume.files.root().join("dir"), volume.files.root().join("link-to-dir"));
    let caught = race(
        &volume,
        LONG_ENOUGH,
        || exchange(&dir, &link),
        || {
            naively(&volume, "dir/file", |path| fs::write(path, b"inside"));
            written_outside(&volume, "dir/file", Ok("inside".to_owned()))
        },
    );
    assert_eq!(caught.unwrap_err(), "it wrote outside");
}

#[test]
fn case_18_the_same_races_are_won_where_openat2_is_missing() {
    openat2::run_where_it_fails("ENOSYS", &["case_1", "--skip", "case_18"]);
}
