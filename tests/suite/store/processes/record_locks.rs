//! File systems on which locks are not what they are elsewhere.

use crate::support::child::in_child;
use crate::support::home::{Home, name};
use crate::support::skip::skip;
use nix::libc;
use sandbox_volumes::model::Labels;
use sandbox_volumes::sync::CancelToken;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use std::os::unix::fs::MetadataExt;

/// All calls pass, but locks of an open file fail.
fn filter(error: i32) -> BpfProgram {
    let refused = |command: i32| {
        let is_it = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, command as u64);
        SeccompRule::new(vec![is_it.unwrap()]).unwrap()
    };
    let rules = [libc::F_OFD_SETLK, libc::F_OFD_GETLK].map(refused).into();
    let refused = [(libc::SYS_fcntl, rules)].into_iter().collect();
    let here = std::env::consts::ARCH.try_into().unwrap();
    let action = SeccompAction::Errno(error as u32);
    SeccompFilter::new(refused, SeccompAction::Allow, action, here).unwrap().try_into().unwrap()
}

#[test]
fn where_open_files_have_no_record_locks_a_home_is_used_all_the_same() {
    in_child(|| {
        if let Err(problem) = apply_filter(&filter(libc::ENOLCK)) {
            return skip(format_args!("seccomp filters cannot be used here: {problem}"));
        }
        let home = Home::new();
        home.create("data");
        assert_eq!(home.store.list(&Labels::default(), &CancelToken::default()).unwrap().len(), 1);
        home.store.remove(&name("data"), &CancelToken::default()).unwrap();
    });
}

/// Some file systems make a lock of the whole file a lock of all its bytes, which one on any of them keeps away.
#[test]
fn the_file_that_writers_lock_as_a_whole_has_no_other_locks() {
    let home = Home::new();
    let locks_of = |file: &str| {
        let inode = std::fs::metadata(home.path("db").join(file)).unwrap().ino();
        // Not /proc/locks: while other locks come and go, a read of it may leave out one that stays.
        let descriptors = std::fs::read_dir("/proc/self/fdinfo").unwrap();
        let infos = descriptors.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
        let lock_lines = |info: String| {
            info.lines().filter(|line| line.starts_with("lock:")).map(str::to_owned).collect::<Vec<_>>()
        };
        infos.flat_map(lock_lines).filter(|lock| lock.contains(&format!(":{inode} "))).count()
    };
    home.create("data");
    assert!(locks_of("volumes.db.copies") > 0);
    assert_eq!(locks_of("volumes.db.lock"), 0);
}
