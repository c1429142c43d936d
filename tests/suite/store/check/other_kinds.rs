//! Entries of another kind in place of a lock file, an id file or a directory of the home.

use super::{catalog, found, kinds, listed};
use crate::support::home::{Home, name};
use sandbox_volumes::store::{Durability, ProblemKind, Store};
use sandbox_volumes::sync::CancelToken;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

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
