//! Bind mounts: what of the host may be given away.

use super::{bind, invalid_field};
use crate::support::home::Home;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::Mode;
use sandbox_volumes::mount::{ResolvedSource, validate_and_order};
use sandbox_volumes::sync::CancelToken;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn a_file_and_a_directory_are_bound() {
    let home = Home::new();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("file"), "x").unwrap();
    for (host, file) in [(outside.path().to_owned(), false), (outside.path().join("file"), true)] {
        let attached = home.attach("worker", &[bind(&host)]).unwrap();
        assert_eq!(attached.mounts[0].origin, ResolvedSource::Bind { host, file });
    }
}

#[test]
fn a_directory_in_the_home_but_beside_the_volumes_is_bound() {
    let home = Home::new();
    fs::create_dir(home.path("cache")).unwrap();
    fs::create_dir(home.path("volumes-too")).unwrap();
    home.attach("worker", &[bind(&home.path("cache")), bind(&home.path("volumes-too"))]).unwrap();
}

#[test]
fn links_and_dots_are_resolved_to_what_was_checked() {
    let home = Home::new();
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("real")).unwrap();
    symlink("real", outside.path().join("link")).unwrap();
    for source in ["link", "real/../link", "./link/."] {
        let attached = home.attach("worker", &[bind(&outside.path().join(source))]).unwrap();
        let real = ResolvedSource::Bind { host: outside.path().join("real"), file: false };
        assert_eq!(attached.mounts[0].origin, real, "{source}");
    }
}

#[test]
fn a_missing_source_is_told_by_its_path() {
    let home = Home::new();
    let error = home.attach("worker", &[bind(Path::new("/nowhere/at-all"))]).unwrap_err();
    assert_eq!(error.code(), "ENOENT");
    assert_eq!(error.context().path.as_deref(), Some("/nowhere/at-all"));
}

#[test]
fn a_fifo_is_refused_and_never_opened() {
    let home = Home::new();
    let fifo = home.path("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let error = home.attach("worker", &[bind(&fifo)]).unwrap_err();
    assert_eq!(invalid_field(&error), "bind");
    assert!(error.to_string().contains("neither a file nor a directory"), "{error}");
}

#[test]
fn a_device_is_refused() {
    let home = Home::new();
    assert_eq!(invalid_field(&home.attach("worker", &[bind(Path::new("/dev/null"))]).unwrap_err()), "bind");
}

#[test]
fn the_stores_own_directories_and_their_parents_are_refused_however_they_are_named() {
    let home = Home::new();
    home.create("data");
    fs::create_dir(home.path("volumes/data/inside")).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let refused = |source: &Path| {
        let error = home.attach("worker", &[bind(source)]).unwrap_err();
        assert_eq!(invalid_field(&error), "bind", "{}", source.display());
        assert!(error.to_string().contains("Mount.named"), "{error}");
    };
    let own = ["", "volumes", "volumes/.locks", "volumes/data", "volumes/data/inside", "db", "db/volumes.db"];
    for (at, below) in own.iter().enumerate() {
        refused(&home.path(below));
        let link = outside.path().join(at.to_string());
        symlink(home.path(below), &link).unwrap();
        refused(&link);
    }
    refused(home.path("").parent().unwrap());
    refused(Path::new("/"));
    refused(&home.path("volumes/../db/."));
}

#[test]
fn a_source_that_is_missing_is_refused_with_the_mount_that_asked_for_it() {
    let home = Home::new();
    let error = home.attach("worker", &[bind(Path::new("/nonexistent/source"))]).unwrap_err();
    assert_eq!(error.code(), "ENOENT");
    assert!(error.to_string().contains("/nonexistent/source"), "{error}");
    assert!(error.to_string().ends_with("(mount at \"/0\")"), "{error}");
}

/// How often a source is attached while it is being exchanged.
const ROUNDS: usize = 200;

/// How long one that waits for a FIFO's other end is waited for.
const HUNG: Duration = Duration::from_secs(120);

#[test]
fn case_56_a_source_that_is_exchanged_meanwhile_is_attached_or_refused_and_never_waited_for() {
    for other in ["fifo", "link", "socket"] {
        let home = Home::new();
        let (source, beside) = (home.path("source"), home.path("beside"));
        fs::create_dir_all(source.join("point")).unwrap();
        let outside = tempfile::tempdir().unwrap();
        let _socket = match other {
            "fifo" => nix::unistd::mkfifo(&beside, Mode::S_IRWXU).map(|()| None).unwrap(),
            "link" => symlink(outside.path(), &beside).map(|()| None).unwrap(),
            _ => Some(UnixListener::bind(&beside).unwrap()),
        };
        let nested = validate_and_order(vec![
            ("/a".to_owned(), bind(&source)),
            ("/a/point".to_owned(), bind(outside.path())),
        ]);
        let nested = nested.unwrap();
        let done = AtomicBool::new(false);
        let (told, outcomes) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let flags = RenameFlags::RENAME_EXCHANGE;
                    renameat2(AT_FDCWD, &source, AT_FDCWD, &beside, flags).unwrap();
                }
            });
            let store = home.store.clone();
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let outcome = store.attach("worker", &nested, None, &CancelToken::default());
                    let detached = outcome.as_ref().map_or(Ok(()), |attached| store.detach(attached.id));
                    if told.send((outcome, detached)).is_err() {
                        break;
                    }
                }
            });
            let outcomes = (0..ROUNDS).map(|_| outcomes.recv_timeout(HUNG));
            let outcomes = outcomes.collect::<Result<Vec<_>, _>>();
            done.store(true, Ordering::Relaxed);
            for (outcome, detached) in outcomes.expect("an attach hangs") {
                detached.unwrap();
                let Err(error) = outcome else { continue };
                let may_be = ["ERR_INVALID_CONFIG", "ENOTDIR", "ELOOP", "ENOENT"];
                assert!(may_be.contains(&error.code().as_ref()), "{other}: {error}");
            }
        });
    }
}
