//! Somebody swaps what is copied, or what it is copied to, for links to outside, as fast as they can.
//!
//! `RACE_SECONDS` says how long each race runs; 2 s by default.

use crate::report::report;
use crate::snapshot::Snapshot;
use crate::volume::Volume;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use sandbox_volumes::error::Error;
use sandbox_volumes::model::Cancel;
use sandbox_volumes::store::{Links, TransferOptions};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What racing may make of a copy, besides one of what is inside.
const ALLOWED: [&str; 5] = ["ERR_PATH_ESCAPE", "ENOENT", "ENOTDIR", "ELOOP", "EBUSY"];

const OPTIONS: TransferOptions = TransferOptions { links: Links::Skip, asks: false };

fn duration() -> Duration {
    Duration::from_secs_f64(std::env::var("RACE_SECONDS").map_or(2.0, |text| text.parse().unwrap()))
}

/// A volume whose `tree` holds what is swapped: a directory for a link to the directory outside, and a file for one
/// to a file outside. Both sides have the same names, and different contents.
fn arena() -> Volume {
    let volume = Volume::new(json!({}));
    for (place, content) in
        [(volume.files.root().join("tree"), "inside"), (volume.outside.join("tree"), "outside")]
    {
        fs::create_dir_all(place.join("dir/sub/deep")).unwrap();
        for file in ["file", "dir/file", "dir/sub/file", "dir/sub/deep/file"] {
            fs::write(place.join(file), content).unwrap();
        }
    }
    symlink(volume.outside.join("tree/dir"), volume.files.root().join("link-to-dir")).unwrap();
    symlink(volume.outside.join("tree/file"), volume.files.root().join("link-to-file")).unwrap();
    volume
}

fn exchange(one: &Path, other: &Path) -> bool {
    renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE).is_ok()
}

/// Repeats `copy` while another thread swaps, until the time is up or something got out.
fn race(
    volume: &Volume,
    time: Duration,
    mut copy: impl FnMut() -> Result<String, String>,
) -> Result<(), String> {
    let root = volume.files.root();
    let outside = Snapshot::of(&volume.outside.join("tree"));
    let done = AtomicBool::new(false);
    let (result, swaps) = thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0u64;
            while !done.load(Ordering::Relaxed) {
                swaps += u64::from(exchange(&root.join("tree/dir"), &root.join("link-to-dir")));
                swaps += u64::from(exchange(&root.join("tree/file"), &root.join("link-to-file")));
            }
            swaps
        });
        let mut outcomes = BTreeMap::new();
        let deadline = Instant::now() + time;
        let result = loop {
            match copy() {
                Ok(outcome) => *outcomes.entry(outcome).or_insert(0u64) += 1,
                Err(problem) => break Err(problem),
            }
            if Instant::now() > deadline {
                break Ok(outcomes);
            }
        };
        done.store(true, Ordering::Relaxed);
        (result, swapper.join().unwrap())
    });
    report(format_args!("{swaps} swaps: {result:?}"));
    assert!(swaps > 0);
    result?;
    match Snapshot::of(&volume.outside.join("tree")) == outside {
        true => Ok(()),
        false => Err("the outside changed".to_owned()),
    }
}

fn allowed<T>(result: Result<T, Error>) -> Result<String, String> {
    match result {
        Ok(_) => Ok("copied".to_owned()),
        Err(error) if ALLOWED.contains(&error.code().as_str()) => Ok(error.code()),
        Err(error) => Err(format!("it failed with {error}")),
    }
}

/// Removes a copy and says whether all its files are of what is inside.
fn is_of_inside(copy: &Path) -> bool {
    let Ok(metadata) = fs::symlink_metadata(copy) else { return true };
    if !metadata.is_dir() {
        return fs::remove_file(copy).is_ok();
    }
    let fine = Snapshot::of(copy).0.values().all(|entry| entry.content != b"outside");
    fs::remove_dir_all(copy).unwrap();
    fine
}

fn judged(result: Result<String, String>, copy: &Path) -> Result<String, String> {
    match is_of_inside(copy) {
        true => result,
        false => Err("it copied what is outside".to_owned()),
    }
}

#[test]
fn case_15_copy_out_a_tree_in_which_things_become_links() {
    let volume = arena();
    let to = volume.outside.join("copy");
    let copy = || judged(allowed(volume.files.copy_out("tree", &to, OPTIONS, &Cancel::default())), &to);
    race(&volume, duration(), copy).unwrap();
}

#[test]
fn case_15_copy_a_tree_in_which_things_become_links() {
    let volume = arena();
    let to = volume.files.root().join("copy");
    race(&volume, duration(), || judged(allowed(volume.files.copy("tree", "copy", &Cancel::default())), &to))
        .unwrap();
}

#[test]
fn case_15_copy_from_and_to_a_directory_that_becomes_a_link() {
    let volume = arena();
    let to = volume.files.root().join("copy");
    race(&volume, duration(), || {
        judged(allowed(volume.files.copy("tree/dir/sub", "copy", &Cancel::default())), &to)?;
        fs::write(volume.files.root().join("f"), "inside").unwrap();
        allowed(volume.files.copy("f", "tree/dir/file", &Cancel::default()))
    })
    .unwrap();
}

#[test]
fn case_15_copy_into_a_tree_in_which_things_become_links() {
    let volume = arena();
    let from = volume.outside.join("from");
    fs::create_dir_all(from.join("dir/sub/deep")).unwrap();
    for file in ["file", "dir/file", "dir/sub/file", "dir/sub/deep/file", "dir/sub/deep/new"] {
        fs::write(from.join(file), "inside").unwrap();
    }
    let root = volume.files.root();
    race(&volume, duration(), || {
        // A link that was replaced is put back, so that the race goes on.
        let fresh = root.join("fresh");
        symlink(volume.outside.join("tree/file"), &fresh).unwrap();
        fs::rename(&fresh, root.join("link-to-file")).unwrap();
        allowed(volume.files.copy_in(&from, "tree", OPTIONS, &Cancel::default()))
    })
    .unwrap();
}

#[test]
fn case_16_copy_a_file_that_becomes_a_link() {
    let volume = arena();
    let to = volume.outside.join("copy");
    let copy = || judged(allowed(volume.files.copy_out("tree/file", &to, OPTIONS, &Cancel::default())), &to);
    race(&volume, duration(), copy).unwrap();
}

#[test]
fn case_17_copy_a_tree_out_of_which_a_directory_is_moved() {
    let volume = arena();
    let root = volume.files.root();
    let parked = volume.outside.join("parked");
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                for (from, to) in
                    [(root.join("tree/dir/sub"), &parked), (parked.clone(), &root.join("tree/dir/sub"))]
                {
                    fs::rename(from, to).unwrap();
                }
            }
        });
        let deadline = Instant::now() + duration();
        while Instant::now() < deadline {
            let to = volume.outside.join("copy");
            let copied = allowed(volume.files.copy_out("tree", &to, OPTIONS, &Cancel::default()));
            if let Err(problem) = judged(copied, &to) {
                done.store(true, Ordering::Relaxed);
                panic!("{problem}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// How it is done without care: by name, after a look at what stands there.
fn naive_copy(from: &Path, to: &Path) -> std::io::Result<()> {
    if fs::symlink_metadata(from)?.is_dir() {
        fs::create_dir(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            naive_copy(&from.join(&name), &to.join(&name))?;
        }
    } else if fs::symlink_metadata(from)?.is_file() {
        fs::copy(from, to)?;
    }
    Ok(())
}

#[test]
fn the_oracle_catches_a_naive_copy() {
    let volume = arena();
    let to = volume.outside.join("copy");
    let from = volume.files.root().join("tree");
    let caught = race(&volume, Duration::from_secs(60), || {
        let _may_fail = naive_copy(&from, &to);
        judged(Ok("copied".to_owned()), &to)
    });
    assert_eq!(caught.unwrap_err(), "it copied what is outside");
}
