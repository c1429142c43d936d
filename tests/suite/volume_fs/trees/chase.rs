//! Walks of a tree that another thread deepens all the time: they end, and report what was there before.

use crate::support::private::Private;
use crate::support::volume::Volume;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, mkdirat};
use sandbox_volumes::store::{ListOptions, TransferOptions};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// How deep the guest goes before it gives up, which takes it longer than a walk of what was there.
const MOST: usize = 300_000;

/// Makes a directory in the one before, again and again, and counts them, up to a count that others may lower.
fn go_down(top: &Path, made: &AtomicUsize, most: &AtomicUsize) {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY;
    let mut here = openat(AT_FDCWD, top, flags, Mode::empty()).unwrap();
    while made.fetch_add(1, Ordering::Relaxed) < most.load(Ordering::Relaxed) {
        mkdirat(&here, "d", Mode::S_IRWXU).unwrap();
        here = openat(&here, "d", flags, Mode::empty()).unwrap();
    }
}

/// Runs a walk while the guest goes down, and holds that it ends before the guest does.
fn ends(walk: impl FnOnce(&Volume)) {
    let Some(private) = Private::new() else { return };
    // Deleting what the guest made is up to the kernel, which does not recurse.
    let volume = ManuallyDrop::new(Volume::new_in(private.path(), json!({})));
    let top = volume.files.root().join("grows");
    std::fs::create_dir(&top).unwrap();
    std::fs::write(volume.files.root().join("file"), [1; 4096]).unwrap();
    let (made, most) = (AtomicUsize::new(0), AtomicUsize::new(MOST));
    thread::scope(|scope| {
        let guest = scope.spawn(|| go_down(&top, &made, &most));
        while made.load(Ordering::Relaxed) < 1000 {
            thread::yield_now();
        }
        walk(&volume);
        let when_it_ended = made.load(Ordering::Relaxed);
        most.store(0, Ordering::Relaxed);
        guest.join().unwrap();
        assert!(when_it_ended < MOST, "it ended when the guest gave up");
    });
}

#[test]
fn case_44_measuring_does_not_chase_a_tree_that_grows() {
    ends(|volume| {
        let used = volume.store.get(&volume.name, &CancelToken::default()).unwrap().used_bytes;
        assert!(used >= 4096, "{used}");
    });
}

#[test]
fn a_recursive_listing_does_not_chase_a_tree_that_grows() {
    ends(|volume| {
        let options = ListOptions { recursive: true, ..ListOptions::default() };
        let mut listing = volume.files.list("", options).unwrap();
        let mut told = 0;
        loop {
            let batch = listing.next(1000, &CancelToken::default()).unwrap();
            told += batch.metadata.len();
            if batch.is_last {
                break;
            }
        }
        assert!(told > 1000, "{told}");
    });
}

#[test]
fn a_copy_does_not_chase_a_tree_that_grows() {
    ends(|volume| {
        let made = volume.outside.join("copied");
        volume.files.copy_out("grows", &made, TransferOptions::default(), &CancelToken::default()).unwrap();
        assert!(made.join(vec!["d"; 100].join("/")).is_dir());
    });
}
