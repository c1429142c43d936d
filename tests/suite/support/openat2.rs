//! Running tests where `openat2` fails: as on an old kernel, in a container that forbids it, or disturbed for ever.
//!
//! A child process puts a seccomp filter on itself and becomes this test binary again, which the filter survives.

use super::child::{current_test, name_of, only};
use super::skip::skip;
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

/// Runs the tests of the calling test's module again, in a process for which every `openat2` fails with `error`: those
/// with one of `words` in their names, or all without a word, but none with a word that follows `--skip`. Does nothing
/// within such a run.
pub fn run_where_it_fails(error: Errno, words: &[&str]) {
    if fails() {
        return;
    }
    let tests = chosen(words);
    let status = only(name_of(launch_where_it_fails))
        .arg("--ignored")
        .env(ERROR, (error as i32).to_string())
        .env(TESTS, tests.join("\n"))
        .status()
        .unwrap();
    match status.code() {
        Some(CANNOT) => skip("seccomp filters cannot be used here"),
        _ => assert!(status.success(), "where openat2 fails with {error}: {status}"),
    }
}

/// The names of the tests to run. Every word has to be part of one: a run of none would pass.
fn chosen(words: &[&str]) -> Vec<String> {
    let test = current_test();
    let module = test.rsplit_once("::").unwrap().0;
    let listed = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let names: Vec<_> = listed
        .lines()
        .filter_map(|line| line.strip_prefix(module)?.strip_prefix("::")?.strip_suffix(": test"))
        .collect();
    let (mut wanted, mut skipped, mut words) = (Vec::new(), Vec::new(), words.iter());
    while let Some(word) = words.next() {
        match *word {
            "--skip" => skipped.push(*words.next().unwrap()),
            word => wanted.push(word),
        }
    }
    for word in wanted.iter().chain(&skipped) {
        assert!(names.iter().any(|name| name.contains(word)), "no test has \"{word}\" in its name");
    }
    let contains = |name: &str, words: &[&str]| words.iter().any(|word| name.contains(word));
    names
        .into_iter()
        .filter(|name| (wanted.is_empty() || contains(name, &wanted)) && !contains(name, &skipped))
        .map(|name| format!("{module}::{name}"))
        .collect()
}

#[test]
#[should_panic(expected = "no test has \"no_such_test\"")]
fn a_name_that_no_test_has_is_no_run_where_openat2_fails() {
    chosen(&["openat2", "--skip", "no_such_test"]);
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
    panic!("{}", command.arg("--exact").args(tests.lines()).env_remove(TESTS).exec());
}

/// All calls pass, but `openat2` fails.
fn filter(error: i32) -> BpfProgram {
    let refused = [(libc::SYS_openat2, Vec::new())].into_iter().collect();
    let action = SeccompAction::Errno(error as u32);
    let here = std::env::consts::ARCH.try_into().unwrap();
    SeccompFilter::new(refused, SeccompAction::Allow, action, here).unwrap().try_into().unwrap()
}
