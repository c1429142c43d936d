//! Modes of what is made, whatever the process's umask; in a process of its own, for all threads share one.

use crate::support::home::name;
use crate::support::worker::{self, Worker};
use nix::sys::stat::{Mode, umask};
use sandbox_volumes::model::VolumeSpec;
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use std::fs;
use std::os::unix::fs::PermissionsExt;

#[test]
fn directories_are_private_above_the_volumes_and_open_at_them_whatever_the_umask() {
    for mask in [0o000, 0o002, 0o022, 0o027, 0o077] {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("above/home");
        let mut worker = Worker::start(worker_with_an_umask, &home);
        worker.order(&mask.to_string());
        assert_eq!(worker.answer().as_deref(), Some("ok"));
        let mode = |below: &str| {
            let mode = fs::metadata(dir.path().join(below)).unwrap().permissions().mode();
            format!("{below} {:o}", mode & 0o7777)
        };
        for private in ["", "/volumes", "/volumes/.staging", "/volumes/.trash", "/volumes/.locks", "/db"] {
            let below = format!("above/home{private}");
            assert_eq!(mode(&below), format!("{below} 700"), "umask {mask:o}");
        }
        assert_eq!(mode("above"), "above 700", "umask {mask:o}");
        let volume = "above/home/volumes/data";
        assert_eq!(mode(volume), format!("{volume} 755"), "umask {mask:o}");
    }
}

#[test]
#[ignore = "a worker that another test starts as a second process"]
fn worker_with_an_umask() {
    let Some(home) = worker::home() else { return };
    let mask = worker::orders().next().unwrap().parse().unwrap();
    umask(Mode::from_bits_truncate(mask));
    let store = Store::open(&home, Durability::Full).unwrap();
    store.create(&name("data"), &VolumeSpec::from_options(&[]).unwrap(), &CancelToken::default()).unwrap();
    worker::say("ok".to_owned());
}
