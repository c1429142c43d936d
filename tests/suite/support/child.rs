//! Runs a test in a process of its own, for what belongs to a whole process: limits, the umask, the user.

use std::process::{Command, Stdio};

const CHILD: &str = "SANDBOX_VOLUMES_TEST_IN_CHILD";

/// The name of the running test, as libtest's `--exact` takes it. libtest gives each test a thread of that name.
pub fn current_test() -> String {
    std::thread::current().name().unwrap().to_owned()
}

/// The name of a test, as libtest's `--exact` takes it.
pub fn name_of<F: Fn() + Copy>(_test: F) -> &'static str {
    std::any::type_name::<F>().split_once("::").unwrap().1
}

/// This test binary, which runs only the test of that name and shows what it prints.
pub fn only(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]);
    command
}

/// Runs `body` in a child process, which is this test binary running only the current test.
pub fn in_child(body: impl FnOnce()) {
    let test = current_test();
    if std::env::var_os(CHILD).is_some_and(|name| name == *test) {
        return body();
    }
    let output = only(&test).env(CHILD, &test).stderr(Stdio::inherit()).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{test} failed in its child process: {}\n{printed}", output.status);
    assert!(printed.contains("1 passed"), "{test} did not run in its child process\n{printed}");
    println!("{printed}");
}
