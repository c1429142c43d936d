//! Operations done by a process of their own that strace watches.

use crate::crash::work::Work;
use crate::support::worker::{self, Worker};
use sandbox_volumes::store::Durability;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What the process that does the work says when it was acknowledged, and when it gave an error.
pub const ACKNOWLEDGED: &str = "acknowledged";
pub const REFUSED: &str = "refused";

/// Runs the work in a process of its own, under strace with these arguments, and gives what the process said in the
/// end; nothing where it was killed. Strace comes when the process is ready, so that nothing but the work is counted.
pub fn run(work: Work, durability: Durability, home: &Path, strace: &[&str]) -> Option<String> {
    let mut worker = Worker::start(worker_that_is_traced, home);
    let ready = worker.answer().unwrap();
    let mut tracer = attach(&ready, strace).unwrap();
    worker.order(&format!("{durability:?} {work:?}"));
    let said = worker.answer();
    worker.process.wait().unwrap();
    tracer.wait().unwrap();
    said
}

/// Strace, attached to a process; what it said where it did not.
fn attach(process: &str, arguments: &[&str]) -> Result<Child, String> {
    let mut command = Command::new("strace");
    command.args(["-f", "-p", process]).args(arguments).stderr(Stdio::piped());
    let mut tracer = command.spawn().map_err(|error| error.to_string())?;
    let mut said = String::new();
    for line in BufReader::new(tracer.stderr.as_mut().unwrap()).lines() {
        let line = line.unwrap();
        if line.contains("attached") {
            return Ok(tracer);
        }
        // It may tell first of a thread that ended just then.
        said += &line;
        said.push('\n');
    }
    Err(format!("{said}{:?}", tracer.wait()))
}

pub fn may_attach() -> bool {
    let mut idle = Command::new("sleep").arg("600").spawn().unwrap();
    let tracer = attach(&idle.id().to_string(), &["-o", "/dev/null"]);
    idle.kill().unwrap();
    idle.wait().unwrap();
    tracer.is_ok_and(|mut tracer| tracer.wait().is_ok())
}

#[test]
#[ignore = "a worker that other tests start as a second process"]
fn worker_that_is_traced() {
    let Some(home) = worker::home() else { return };
    worker::say(std::process::id().to_string());
    let Some(order) = worker::orders().next() else { return };
    let (durability, work) = order.split_once(' ').unwrap();
    let durability = if durability == "Fast" { Durability::Fast } else { Durability::Full };
    worker::say(match Work::of(work).do_it(&home, durability) {
        Ok(()) => ACKNOWLEDGED.to_owned(),
        Err(error) => format!("{REFUSED}: {} {error}", error.code()),
    });
}
