//! Running a test as an ordinary user, whom modes bind.

#![allow(dead_code, reason = "each test binary uses what it needs")]

use crate::child::in_child;
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};

pub const NOBODY: u32 = 65534;

/// Runs `body` in a process of an ordinary user.
pub fn as_ordinary_user(test: &str, body: impl FnOnce()) {
    in_child(test, || {
        if geteuid().is_root() {
            become_ordinary_user();
        }
        body();
    });
}

/// Gives up root's rights for good.
pub fn become_ordinary_user() {
    setgroups(&[]).unwrap();
    setgid(Gid::from_raw(NOBODY)).unwrap();
    setuid(Uid::from_raw(NOBODY)).unwrap();
}
