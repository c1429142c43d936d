//! Runs faulty variants where they can write to a temporary directory of their own only. That protects the machine.

use super::child::{current_test, only};
use super::skip::skip;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

/// Set in such a process: its test.
const TEST: &str = "SANDBOX_VOLUMES_TEST_IN_READ_ONLY_NAMESPACE";

/// Runs `body`, all that the current test does, in a process that can write to its temporary directory only. Skips
/// the test where an ordinary user has no namespaces.
pub fn in_read_only_namespace(body: impl FnOnce()) {
    let test = current_test();
    if env::var_os(TEST).is_some_and(|name| name == *test) {
        assert_only_temp_dir_is_writable();
        return body();
    }
    let dir = tempfile::tempdir().unwrap();
    if !namespace(dir.path(), OsStr::new("true")).status().is_ok_and(|status| status.success()) {
        return skip("bubblewrap, or the right to namespaces, is missing");
    }
    let run = only(&test);
    let mut confined = namespace(dir.path(), run.get_program());
    confined.args(run.get_args()).env(TEST, &test).env("TMPDIR", dir.path());
    let output = confined.stderr(Stdio::inherit()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{test} failed in its namespace: {}\n{printed}", output.status);
    assert!(printed.contains("1 passed"), "{test} did not run in its namespace\n{printed}");
    println!("{printed}");
}

/// Whether this process is in such a namespace.
pub fn is_here() -> bool {
    env::var_os(TEST).is_some()
}

/// A command that runs `program` where `dir` alone can be written. In `/proc` it finds no process outside, through
/// which it could reach other mounts.
fn namespace(dir: &Path, program: &OsStr) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--ro-bind", "/", "/", "--unshare-pid", "--proc", "/proc", "--dev", "/dev", "--bind"]);
    command.args([dir, dir]).args([
        "--remount-ro",
        "/dev",
        "--remount-ro",
        "/proc",
        "--die-with-parent",
        "--",
    ]);
    command.arg(program);
    command
}

/// Directories that a faulty variant must not change, as far as this user can reach them.
fn protected() -> Vec<PathBuf> {
    let fixed = ["/", "/etc", "/tmp", "/dev", "/dev/shm", "/proc/1/root", env!("CARGO_MANIFEST_DIR")];
    let home = env::var_os("HOME").map(PathBuf::from);
    let temp_parent = env::temp_dir().parent().map(Path::to_owned);
    let all = fixed.into_iter().map(PathBuf::from).chain(home).chain(temp_parent);
    all.filter(|directory| directory.join(".").exists()).collect()
}

/// Panics unless everything but the temporary directory is read-only. Whatever starts a faulty variant calls it.
pub fn assert_only_temp_dir_is_writable() {
    assert!(is_here(), "a faulty variant runs in a read-only namespace only");
    let make = |parent: &Path| {
        let made = parent.join(format!("faulty-variants-may-write-here-{}", std::process::id()));
        fs::create_dir(&made).and_then(|()| fs::remove_dir(made))
    };
    for directory in protected() {
        let refused = make(&directory).err().map(|error| error.kind());
        assert_eq!(refused, Some(io::ErrorKind::ReadOnlyFilesystem), "in {}", directory.display());
    }
    make(&env::temp_dir()).unwrap();
}

#[test]
fn in_a_read_only_namespace_nothing_else_can_be_written() {
    in_read_only_namespace(|| {
        let (within, program) = (env::temp_dir().join("f"), env::current_exe().unwrap());
        fs::write(&within, "x").unwrap();
        fs::rename(&within, within.with_extension("renamed")).unwrap();
        let permissions = fs::metadata(&program).unwrap().permissions();
        let mut attempts = vec![
            fs::remove_file(&program),
            fs::rename(&program, program.with_extension("renamed")),
            fs::set_permissions(&program, permissions),
            fs::write("/proc/self/comm", "x"),
        ];
        let directories = protected();
        assert!(directories.len() >= 6, "{directories:?}");
        for path in directories.iter().map(|directory| directory.join("made-by-a-faulty-variant")) {
            attempts.push(fs::write(&path, "x"));
            attempts.push(fs::create_dir(&path));
            attempts.push(std::os::unix::fs::symlink("x", &path));
        }
        for (at, attempt) in attempts.into_iter().enumerate() {
            assert_eq!(attempt.unwrap_err().kind(), io::ErrorKind::ReadOnlyFilesystem, "attempt {at}");
        }
    });
}

#[test]
#[should_panic(expected = "in a read-only namespace only")]
fn outside_of_a_read_only_namespace_no_faulty_variant_starts() {
    assert_only_temp_dir_is_writable();
}
