//! Running tests where `openat2` fails, which strace arranges.

use crate::skip::skip;
use std::process::{Command, Stdio};

/// Set within such a run.
const INJECTED: &str = "SANDBOX_VOLUMES_OPENAT2_FAILS";

/// Whether this is such a run.
pub fn fails() -> bool {
    std::env::var_os(INJECTED).is_some()
}

/// Runs tests of this binary, chosen by libtest's own arguments, in a process for which every `openat2` fails
/// with `error`. Nothing to do within such a run.
pub fn run_where_it_fails(error: &str, tests: &[&str]) {
    let strace = |error: &str| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=openat2"]);
        command.arg("-e").arg(format!("inject=openat2:error={error}")).env(INJECTED, error);
        command
    };
    if fails() {
        return;
    }
    let probe = strace(error).arg("true").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        return skip("strace is missing, or may not trace here");
    }
    let status = strace(error).arg(std::env::current_exe().unwrap()).args(tests).status().unwrap();
    assert!(status.success(), "where openat2 fails with {error}: {status}");
}
