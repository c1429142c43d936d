//! Entries of another kind in place of a lock file, an id file or a directory of the home.

use super::{catalog, found, kinds, listed};
use crate::support::home::{Home, name};
use crate::support::mount_namespace::enter_namespace;
use crate::support::opens::Opens;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use sandbox_volumes::model::VolumeSpec;
use sandbox_volumes::store::{Durability, ProblemKind, Store};
use sandbox_volumes::sync::CancelToken;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes something of a kind that is no regular file.
fn make_other(kind: &str, at: &Path, elsewhere: &Path) {
    match kind {
        "a directory" => fs::create_dir(at).unwrap(),
        "a symbolic link" => symlink(elsewhere, at).unwrap(),
        _ => nix::unistd::mkfifo(at, nix::sys::stat::Mode::S_IRWXU).unwrap(),
    }
}

const OTHER_KINDS: [&str; 3] = ["a directory", "a symbolic link", "a FIFO"];

#[test]
fn what_is_in_place_of_a_lock_file_is_reported_and_moved_away() {
    for kind in OTHER_KINDS {
        let home = Home::new();
        let root = home.create("data");
        fs::remove_dir(home.create("gone")).unwrap();
        fs::create_dir(home.path("volumes/new")).unwrap();
        fs::write(root.join("file"), "kept").unwrap();
        fs::write(home.path("elsewhere"), "theirs").unwrap();
        let entries = [
            "data.lock",
            "data~quota.lock",
            "data~quota-next.lock",
            "data~work.lock",
            "gone.lock",
            "new.lock",
        ];
        for entry in entries {
            let at = home.path("volumes/.locks").join(entry);
            if at.exists() {
                fs::remove_file(&at).unwrap();
            }
            make_other(kind, &at, &home.path("elsewhere"));
        }
        let others = ["gone", "new"].map(|name| home.path("volumes").join(name));
        for repair in [false, true] {
            let problems = found(&home.path(""), repair);
            let (locks, rest): (Vec<_>, Vec<_>) =
                problems.iter().partition(|it| it.path.parent() != others[0].parent());
            let mut paths: Vec<_> = locks.iter().map(|it| it.path.clone()).collect();
            paths.sort();
            let mut expected = entries.map(|entry| home.path("volumes/.locks").join(entry));
            expected.sort();
            assert_eq!(paths, expected, "{kind}: {problems:?}");
            for lock in locks {
                assert_eq!((lock.kind, lock.repaired), (ProblemKind::UnrecognizedEntry, repair), "{lock:?}");
                assert!(lock.message.contains(kind), "{lock:?}");
            }
            let rest: Vec<_> = rest.iter().map(|it| (it.kind, it.volume.as_deref(), it.repaired)).collect();
            let (missing, unknown) = (ProblemKind::MissingDirectory, ProblemKind::UnknownDirectory);
            assert_eq!(rest, [(missing, Some("gone"), repair), (unknown, Some("new"), repair)], "{kind}");
        }
        assert!(found(&home.path(""), false).is_empty());
        assert_eq!(fs::read_to_string(home.path("elsewhere")).unwrap(), "theirs");
        assert_eq!(fs::read_to_string(root.join("file")).unwrap(), "kept");
        for volume in ["data", "new"] {
            home.store.remove(&name(volume), &CancelToken::default()).unwrap();
        }
        home.create("gone");
    }
}

#[test]
fn what_is_in_place_of_the_lock_of_an_abandoned_removal_hides_neither() {
    for kind in OTHER_KINDS {
        let home = Home::new();
        home.create("data");
        let sql =
            "INSERT INTO intent (volume_id, action, entry) SELECT id, 'remove', 'data~1-2-3' FROM volume";
        catalog(&home).execute(sql, ()).unwrap();
        let lock = home.path("volumes/.locks/data~work.lock");
        make_other(kind, &lock, &home.path("elsewhere"));
        for repair in [false, true] {
            let problems = found(&home.path(""), repair);
            let (entry, operation) = (ProblemKind::UnrecognizedEntry, ProblemKind::IncompleteOperation);
            let expected = [(entry, Some("data"), repair), (operation, Some("data"), repair)];
            assert_eq!(kinds(&problems), expected, "{kind}: {problems:?}");
            assert_eq!(problems[0].path, lock);
        }
        assert!(found(&home.path(""), false).is_empty());
        assert_eq!((home.intents(), home.path("volumes/data").exists()), (0, false));
    }
}

#[test]
fn a_name_lock_that_another_repair_made_usable_is_left_to_its_holder() {
    let home = Home::new();
    home.create("data");
    let (lock, file) = (home.path("volumes/.locks/data.lock"), home.path("db/volumes.db"));
    fs::remove_file(&lock).unwrap();
    make_other("a FIFO", &lock, &home.path("elsewhere"));
    // The repair opens the catalog without this lock, and then waits for it between its look and the move.
    let writers = File::open(home.path("db/volumes.db.lock")).unwrap();
    writers.lock().unwrap();
    let connections = || {
        let opened = fs::read_dir("/proc/self/fd").unwrap().map(|fd| fs::read_link(fd.unwrap().path()));
        opened.filter(|opened| opened.as_ref().is_ok_and(|opened| *opened == file)).count()
    };
    let before = connections();
    std::thread::scope(|scope| {
        let repair = scope.spawn(|| found(&home.path(""), true));
        while connections() == before && !repair.is_finished() {
            std::thread::yield_now();
        }
        let attempts = Opens::watch(&home.path("db/volumes.db.lock"));
        while !attempts.any() && !repair.is_finished() {
            std::thread::yield_now();
        }
        // What the other repair does, and then an operation.
        let _moved = fs::remove_file(&lock);
        let holder = File::create(&lock).unwrap();
        holder.lock().unwrap();
        writers.unlock().unwrap();
        assert_eq!(kinds(&repair.join().unwrap()), []);
        assert_eq!(fs::metadata(&lock).unwrap().ino(), holder.metadata().unwrap().ino());
    });
    assert!(found(&home.path(""), false).is_empty());
}

#[test]
fn what_cannot_be_moved_while_the_catalog_is_written_is_reported_as_not_repaired() {
    let home = Home::new();
    home.create("data");
    home.create("other");
    let invalid = [home.path("volumes/.locks/data.lock"), home.path("volumes/.ids/other")];
    for path in &invalid {
        fs::remove_file(path).unwrap();
        make_other("a FIFO", path, &home.path("elsewhere"));
    }
    let repaired = |expected: &[(&str, bool)]| {
        let problems = found(&home.path(""), true);
        let entry = ProblemKind::UnrecognizedEntry;
        let expected: Vec<_> = expected.iter().map(|(volume, is)| (entry, Some(*volume), *is)).collect();
        assert_eq!(kinds(&problems), expected, "{problems:?}");
        for problem in problems.iter().filter(|it| !it.repaired) {
            assert!(
                problem.message.contains("is a FIFO") && problem.message.contains("catalog"),
                "{problem:?}"
            );
        }
    };
    let writers = File::open(home.path("db/volumes.db.lock")).unwrap();
    writers.lock().unwrap();
    repaired(&[("data", false), ("other", false)]);
    writers.unlock().unwrap();
    // Another program's transaction keeps no repair from moving the name lock.
    let catalog = catalog(&home);
    catalog.execute_batch("BEGIN IMMEDIATE").unwrap();
    repaired(&[("data", true), ("other", false)]);
    catalog.execute_batch("ROLLBACK").unwrap();
    repaired(&[("other", true)]);
    assert!(found(&home.path(""), false).is_empty());
}

/// A tmpfs of a few inodes, which ends when dropped. It is in a mount namespace of this thread's own, so that a run that
/// is killed does not leave it.
struct FewInodes(PathBuf);

impl FewInodes {
    /// Skips the test and returns `None` if nothing can be mounted.
    fn at(path: &Path) -> Option<Self> {
        if !enter_namespace() {
            return None;
        }
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("size=16m,nr_inodes=64")).unwrap();
        Some(FewInodes(path.to_owned()))
    }
}

impl Drop for FewInodes {
    fn drop(&mut self) {
        umount2(&self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

#[test]
fn an_id_file_that_cannot_be_written_again_is_written_by_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = FewInodes::at(dir.path()) else { return };
    let home = disk.0.join("home");
    let store = Arc::new(Store::open(&home, Durability::Full).unwrap());
    let created =
        store.create(&name("data"), &VolumeSpec::from_options(&[]).unwrap(), &CancelToken::default());
    let id = format!("{}\n", created.unwrap().id);
    let file = home.join("volumes/.ids/data");
    fs::remove_file(&file).unwrap();
    make_other("a FIFO", &file, &home);
    let ballast = (0..).map(|number| disk.0.join(format!("ballast{number}")));
    let ballast: Vec<_> = ballast.take_while(|path| File::create(path).is_ok()).collect();
    let problems = found(&home, true);
    assert_eq!(kinds(&problems), [(ProblemKind::UnrecognizedEntry, Some("data"), false)]);
    let message = &problems[0].message;
    assert!(message.contains(".damaged-") && message.contains("ENOSPC"), "{message}");
    assert!(!file.exists());
    ballast.iter().for_each(|path| fs::remove_file(path).unwrap());
    drop(Store::open(&home, Durability::Full).unwrap());
    assert_eq!(fs::read_to_string(&file).unwrap(), id);
}

#[test]
fn what_is_in_place_of_an_id_file_is_reported_and_moved_away() {
    for kind in OTHER_KINDS {
        let home = Home::new();
        home.create("data");
        home.create("other");
        let ids =
            |home: &Home| listed(&home.path("")).into_iter().map(|it| it.record.identity).collect::<Vec<_>>();
        let before = ids(&home);
        fs::write(home.path("elsewhere"), "theirs").unwrap();
        for volume in ["data", "other"] {
            fs::remove_file(home.path("volumes/.ids").join(volume)).unwrap();
        }
        make_other(kind, &home.path("volumes/.ids/data"), &home.path("elsewhere"));
        catalog(&home).execute("UPDATE volume SET identity_stored = 0", ()).unwrap();
        for repair in [false, true] {
            let problems = found(&home.path(""), repair);
            assert_eq!(kinds(&problems), [(ProblemKind::UnrecognizedEntry, Some("data"), repair)], "{kind}");
            assert_eq!(problems[0].path, home.path("volumes/.ids/data"));
            assert!(problems[0].message.contains(kind), "{problems:?}");
        }
        assert!(found(&home.path(""), false).is_empty());
        assert_eq!(
            (ids(&home), fs::read_to_string(home.path("elsewhere")).unwrap()),
            (before, "theirs".to_owned())
        );
        assert!(["data", "other"].iter().all(|volume| home.path("volumes/.ids").join(volume).is_file()));
        home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    }
}

#[test]
fn what_is_in_place_of_a_directory_of_the_home_is_reported() {
    for entry in ["volumes", "db"] {
        for kind in ["a symbolic link", "a FIFO"] {
            let home = tempfile::tempdir().unwrap();
            fs::create_dir(home.path().join("elsewhere")).unwrap();
            make_other(kind, &home.path().join(entry), &home.path().join("elsewhere"));
            for repair in [false, true] {
                let problems = found(home.path(), repair);
                assert_eq!(kinds(&problems), [(ProblemKind::UnrecognizedEntry, None, false)], "{entry}");
                assert!(problems[0].path == home.path().join(entry) && problems[0].message.contains(kind));
            }
            Store::open(home.path(), Durability::Full).unwrap_err();
        }
    }
}
