//! A second process: this test binary, running one of its ignored tests as a worker.
//!
//! The worker hears orders on standard input and answers on standard error, a line each, for standard output
//! is libtest's. A worker that panics says so there, where an answer was expected.

use super::child::{name_of, only};
use std::io::{BufRead, BufReader, Lines, Write};
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Stdio};

/// Where a worker finds the home; without it, a worker has nothing to do.
pub const HOME: &str = "SANDBOX_VOLUMES_WORKER_HOME";

/// A running worker, killed when dropped.
pub struct Worker {
    pub process: Process,
    pub answers: Lines<BufReader<ChildStderr>>,
}

/// Its process, killed and reaped when dropped.
pub struct Process(Child);

impl Worker {
    /// Starts an ignored test on a home.
    pub fn start(worker: impl Fn() + Copy, home: &Path) -> Self {
        let mut process = only(name_of(worker))
            .arg("--ignored")
            .env(HOME, home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stderr.take().unwrap()).lines();
        Worker { process: Process(process), answers }
    }

    /// Gives an order.
    pub fn order(&mut self, order: &str) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{order}").unwrap();
    }

    /// Waits for the next answer. Returns `None` once the worker has ended.
    pub fn answer(&mut self) -> Option<String> {
        self.answers.next().map(Result::unwrap)
    }
}

impl Deref for Process {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Process {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Within a worker: its home. Returns `None` if the ignored tests are run by hand.
pub fn home() -> Option<PathBuf> {
    std::env::var_os(HOME).map(PathBuf::from)
}

/// Within a worker: the orders, as they come.
pub fn orders() -> impl Iterator<Item = String> {
    std::io::stdin().lines().map(Result::unwrap)
}

/// Within a worker: gives an answer, in one write, so that a killed worker never gives a part of one.
pub fn say(answer: String) {
    std::io::stderr().write_all(format!("{answer}\n").as_bytes()).unwrap();
}
