//! Entries of `.staging` and `.trash` that an open of the home cannot treat as an ordinary leftover.

use crate::support::child::in_child;
use crate::support::home::{Home, name};
use crate::support::ordinary_user::{NOBODY, as_ordinary_user, become_ordinary_user};
use crate::support::skip::skip;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use sandbox_volumes::store::{Durability, ProblemKind, Store, WriteOptions, check};
use sandbox_volumes::sync::CancelToken;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Leaves one entry of each kind in both directories, and returns their paths.
fn leave_entries(home: &Path) -> Vec<PathBuf> {
    let outside = home.join("outside");
    fs::write(&outside, "kept").unwrap();
    let mut left = Vec::new();
    for (at, dir) in ["volumes/.staging", "volumes/.trash"].into_iter().enumerate() {
        let mut entry = |kind: u32| {
            left.push(home.join(dir).join(format!("{at}-{kind}-a")));
            left.last().unwrap().clone()
        };
        for mode in [0o000, 0o007, 0o100] {
            let file = entry(mode);
            fs::write(&file, "half a file").unwrap();
            fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        }
        symlink(&outside, entry(1)).unwrap();
        symlink("nowhere", entry(2)).unwrap();
        mkfifo(&entry(3), Mode::S_IRWXU).unwrap();
        mkfifo(&entry(4), Mode::empty()).unwrap();
        drop(UnixListener::bind(entry(5)).unwrap());
        fs::create_dir(entry(6)).unwrap();
        let closed = entry(10);
        fs::create_dir(&closed).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o000)).unwrap();
        fs::write(entry(9), "an ordinary one, listed last or first").unwrap();
        let record = home.join(dir).join(format!("{at}-b-a.7f"));
        fs::write(&record, "a record of a clone").unwrap();
        fs::set_permissions(&record, Permissions::from_mode(0o000)).unwrap();
        left.push(record);
        let volume = home.join(dir).join(format!("v~{at}-c-a"));
        symlink(&outside, &volume).unwrap();
        left.push(volume);
    }
    left.sort();
    left
}

fn assert_leftovers_are_cleared() {
    let home = Home::new();
    home.create("v");
    let left = leave_entries(&home.path(""));
    let reported = || {
        let problems = check(&home.path(""), false, &CancelToken::default()).unwrap();
        assert!(
            problems.iter().all(|problem| problem.kind == ProblemKind::IncompleteOperation),
            "{problems:?}"
        );
        let mut paths: Vec<_> = problems.into_iter().map(|problem| problem.path).collect();
        paths.sort();
        paths
    };
    assert_eq!(reported(), left);
    Store::open(&home.path(""), Durability::Full).unwrap();
    assert!(reported().is_empty());
    for dir in ["volumes/.staging", "volumes/.trash"] {
        assert_eq!(fs::read_dir(home.path(dir)).unwrap().count(), 0, "{dir}");
    }
    assert_eq!(fs::read_to_string(home.path("outside")).unwrap(), "kept");
    assert!(home.path("volumes/v").is_dir());
}

#[test]
fn leftovers_of_every_kind_are_reported_and_cleared_by_an_open() {
    assert_leftovers_are_cleared();
}

#[test]
fn leftovers_of_every_kind_are_reported_and_cleared_by_an_ordinary_users_open() {
    as_ordinary_user(assert_leftovers_are_cleared);
}

#[test]
fn a_file_of_another_user_is_reported_and_keeps_no_other() {
    if !geteuid().is_root() {
        return skip("only root can leave a file of another user");
    }
    in_child(|| {
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        let foreign = dir.path().join("foreign");
        fs::write(&foreign, "").unwrap();
        fs::set_permissions(&foreign, Permissions::from_mode(0o600)).unwrap();
        become_ordinary_user();
        drop(Store::open(dir.path(), Durability::Full).unwrap());
        let staging = dir.path().join("volumes/.staging");
        fs::rename(&foreign, staging.join("1-2-3")).unwrap();
        for ordinary in ["0-0-1", "4-5-6"] {
            fs::write(staging.join(ordinary), "").unwrap();
        }
        Store::open(dir.path(), Durability::Full).unwrap();
        for repair in [false, true] {
            let problems = check(dir.path(), repair, &CancelToken::default()).unwrap();
            let [problem] = &problems[..] else { panic!("{problems:?}") };
            assert_eq!((&problem.path, problem.repaired), (&staging.join("1-2-3"), false));
            assert!(problem.message.contains("EACCES"), "{}", problem.message);
        }
    });
}

#[test]
fn a_temp_file_of_a_living_process_stays_whatever_its_mode() {
    as_ordinary_user(|| {
        let home = Home::new();
        let staging = home.path("volumes/.staging");
        for mode in [0o600, 0o400, 0o200, 0o000] {
            let path = staging.join("1-2-3");
            let file = Flock::lock(File::create(&path).unwrap(), FlockArg::LockExclusive).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            // What a file that its owner cannot open is published under.
            let dir = Flock::lock(File::open(&staging).unwrap(), FlockArg::LockShared).unwrap();
            Store::open(&home.path(""), Durability::Full).unwrap();
            assert!(path.exists(), "{mode:o}");
            drop((dir, file));
            Store::open(&home.path(""), Durability::Full).unwrap();
            assert!(!path.exists(), "{mode:o}");
        }
    });
}

#[test]
fn an_atomic_write_of_any_mode_publishes_that_mode_and_a_private_temp_file_until_then() {
    as_ordinary_user(|| {
        for umask in [0o022, 0o077, 0o777] {
            nix::sys::stat::umask(Mode::from_bits_truncate(0o022));
            let home = Home::new();
            let root = home.create("v");
            let files = home.store.files(&name("v"));
            nix::sys::stat::umask(Mode::from_bits_truncate(umask));
            for mode in [0o000, 0o666, 0o777, 0o040, 0o400, 0o200] {
                let options = WriteOptions { atomic: true, mode: Some(mode), ..Default::default() };
                let mut stream = files
                    .open_writer("stream", options, Default::default(), &CancelToken::default())
                    .unwrap();
                let temp = fs::read_dir(home.path("volumes/.staging")).unwrap().next().unwrap().unwrap();
                assert_eq!(temp.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
                Store::open(&home.path(""), Durability::Full).unwrap();
                stream.write(b"x", &CancelToken::default()).unwrap();
                stream.finish(&CancelToken::default()).unwrap();
                files.write("file", b"x", options, &CancelToken::default()).unwrap();
                for path in ["stream", "file"] {
                    let made = fs::symlink_metadata(root.join(path)).unwrap().permissions().mode();
                    assert_eq!(made & 0o7777, mode & !umask, "{path} with {mode:o} less {umask:o}");
                    fs::remove_file(root.join(path)).unwrap();
                }
            }
        }
    });
}
