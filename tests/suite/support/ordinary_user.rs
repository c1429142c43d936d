//! Running a test as an ordinary user, whom modes bind.

use super::child::in_child;
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setresgid, setresuid, setuid};

pub const NOBODY: u32 = 65534;

/// Runs `body` in a process of an ordinary user.
pub fn as_ordinary_user(body: impl FnOnce()) {
    in_child(|| {
        if geteuid().is_root() {
            become_ordinary_user();
        }
        body();
    });
}

/// Runs `work` with the ids of an ordinary user, in a process that is root's before and afterwards.
pub fn while_ordinary_user<T>(work: impl FnOnce() -> T) -> T {
    let (root, user) = (Uid::from_raw(0), Uid::from_raw(NOBODY));
    let (root_group, group) = (Gid::from_raw(0), Gid::from_raw(NOBODY));
    setgroups(&[]).unwrap();
    setresgid(group, group, root_group).unwrap();
    setresuid(user, user, root).unwrap();
    let result = work();
    setresuid(root, root, root).unwrap();
    setresgid(root_group, root_group, root_group).unwrap();
    result
}

/// Gives up root's rights for good.
pub fn become_ordinary_user() {
    setgroups(&[]).unwrap();
    setgid(Gid::from_raw(NOBODY)).unwrap();
    setuid(Uid::from_raw(NOBODY)).unwrap();
}
