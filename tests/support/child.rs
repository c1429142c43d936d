//! Running a test in a process of its own, for what belongs to a whole process: limits, the umask.

use std::process::Command;

const CHILD: &str = "SANDBOX_VOLUMES_TEST_IN_CHILD";

/// Runs `body` in a child process, which is this test binary running only the test of that name.
pub fn in_child(test: &str, body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some_and(|name| name == test) {
        return body();
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    let status = child.args(["--exact", test, "--nocapture"]).env(CHILD, test).status().unwrap();
    assert!(status.success(), "{test} failed in its child process: {status}");
}
