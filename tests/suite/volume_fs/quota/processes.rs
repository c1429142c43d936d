//! Processes and threads that write one volume at the same time.

use super::{ATOMIC, PLAIN};
use crate::support::report::report;
use crate::support::volume::Volume;
use crate::support::worker::{self, Worker};
use sandbox_volumes::model::{MIB, VolumeName};
use sandbox_volumes::store::{Durability, Store};
use sandbox_volumes::sync::CancelToken;
use serde_json::json;
use std::sync::Arc;
use std::thread;

const QUOTA: u64 = 8 * MIB;
const LENGTH: usize = 100_000;

#[test]
fn case_45_processes_and_threads_together_fill_the_quota_and_no_more() {
    let volume = Volume::new(json!({ "quotaMib": 8 }));
    volume.fill_with_many();
    let home = volume.outside.parent().unwrap().to_owned();
    let mut workers: Vec<_> = (0..2).map(|_| Worker::start(worker_that_fills_the_volume, &home)).collect();
    for worker in &mut workers {
        assert_eq!(worker.answer().as_deref(), Some("ready"));
    }
    for (at, worker) in workers.iter_mut().enumerate() {
        worker.order(&at.to_string());
    }
    let written: Vec<usize> =
        workers.iter_mut().map(|worker| worker.answer().unwrap().parse().unwrap()).collect();
    let used = volume.used_bytes();
    report(format_args!("{written:?} files, {used} of {QUOTA} bytes"));
    assert!(used <= QUOTA, "{used}");
    assert!(used + LENGTH.next_multiple_of(4096) as u64 > QUOTA, "{used}: another file would have fitted");
    // Which of them comes first is up to the scheduler.
    assert!(written.iter().sum::<usize>() > 0);
}

#[test]
#[ignore = "a worker that another test starts as a second process"]
fn worker_that_fills_the_volume() {
    let Some(home) = worker::home() else { return };
    let store = Arc::new(Store::open(&home, Durability::Fast).unwrap());
    let files = store.files(&VolumeName::parse("v").unwrap());
    worker::say("ready".to_owned());
    let me = worker::orders().next().unwrap();
    let fill = |thread: usize| {
        let mut written = 0;
        loop {
            let options = [PLAIN, ATOMIC][written % 2];
            let path = format!("many/{me}-{thread}-{written}");
            match files.write(path, &[1; LENGTH], options, &CancelToken::default()) {
                Ok(()) => written += 1,
                Err(error) => {
                    assert_eq!(error.code(), "ERR_QUOTA_EXCEEDED");
                    return written;
                }
            }
        }
    };
    let written: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|at| scope.spawn(move || fill(at))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    worker::say(written.to_string());
}
