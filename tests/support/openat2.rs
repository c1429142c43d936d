//! Running tests where `openat2` fails: as on an old kernel, in a container that forbids it, or disturbed for ever.
//!
//! A child process puts a seccomp filter on itself and becomes this test binary again, which the filter survives.

use crate::skip::skip;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OpenHow, openat2};
use nix::libc;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Set in such a child: the number of the error.
const ERROR: &str = "SANDBOX_VOLUMES_OPENAT2_FAILS";

/// Set for the child that is to become the test binary: its arguments.
const TESTS: &str = "SANDBOX_VOLUMES_WHERE_OPENAT2_FAILS";

/// Whether this is such a run.
pub fn fails() -> bool {
    std::env::var_os(ERROR).is_some()
}

/// Runs tests of this binary, chosen by libtest's own arguments, in a process for which every `openat2` fails
/// with `error`. Nothing to do within such a run.
pub fn run_where_it_fails(error: Errno, tests: &[&str]) {
    if fails() {
        return;
    }
    check_names(tests);
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "openat2::launch_where_it_fails", "--ignored", "--nocapture"])
        .env(ERROR, (error as i32).to_string())
        .env(TESTS, tests.join("\n"))
        .status()
        .unwrap();
    match status.code() {
        Some(CANNOT) => skip("seccomp filters cannot be used here"),
        _ => assert!(status.success(), "where openat2 fails with {error}: {status}"),
    }
}

/// Every name that is chosen or skipped has to be one of a test: a run of none would pass.
fn check_names(tests: &[&str]) {
    let listed = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    for name in tests.iter().filter(|word| !word.starts_with("--")) {
        let is_known = listed.lines().any(|line| line.ends_with(": test") && line.contains(name));
        assert!(is_known, "no test has \"{name}\" in its name");
    }
}

#[test]
#[should_panic(expected = "no test has")]
fn a_name_that_no_test_has_is_no_run_where_openat2_fails() {
    // In a run where it fails there is nothing to choose.
    check_names(&["openat2", "--skip", "no_such_test"]);
}

/// The exit code of a child that may not have a filter.
const CANNOT: i32 = 77;

#[test]
#[ignore = "becomes the test binary where openat2 fails; nothing to do otherwise"]
fn launch_where_it_fails() {
    let Ok(tests) = std::env::var(TESTS) else { return };
    let error: i32 = std::env::var(ERROR).unwrap().parse().unwrap();
    if let Err(problem) = apply_filter(&filter(error)) {
        eprintln!("{problem}");
        std::process::exit(CANNOT);
    }
    assert_eq!(openat2(AT_FDCWD, "/", OpenHow::new()).unwrap_err(), Errno::from_raw(error));
    let mut command = Command::new(std::env::current_exe().unwrap());
    panic!("{}", command.args(tests.lines()).env_remove(TESTS).exec());
}

/// All calls pass, but `openat2` fails.
fn filter(error: i32) -> BpfProgram {
    let refused = [(libc::SYS_openat2, Vec::new())].into_iter().collect();
    let action = SeccompAction::Errno(error as u32);
    let here = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(refused, SeccompAction::Allow, action, here).unwrap().try_into().unwrap()
}
