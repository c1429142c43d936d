//! Threads of our own, in three lanes: for what is over soon, for what may take long, and for what may have to
//! wait for somebody, so that nothing else waits with it. libuv's pool stays with the user's own file calls.

#![expect(unsafe_code, reason = "setpriority has no safe wrapper among our dependencies")]

use crate::error::{Error, Result};
use nix::libc;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

/// Which kind of job it is.
#[derive(Clone, Copy, Debug)]
pub enum Lane {
    /// A few system calls on one file.
    Short,
    /// Walks a tree, or moves much data.
    Long,
    /// Takes a lock that another process may hold.
    Waiting,
}

type Job = Box<dyn FnOnce() + Send>;

struct Queue {
    name: &'static str,
    most_threads: usize,
    niceness: libc::c_int,
    state: Mutex<State>,
    filled: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

static SHORT: Queue = Queue::new("volumes-short", 4, 0);
static LONG: Queue = Queue::new("volumes-long", 16, 5);
static WAITING: Queue = Queue::new("volumes-waiting", 16, 5);

/// Queues a job, which runs on a thread of its lane. Threads start when they are first needed and stay.
pub fn submit(lane: Lane, job: Job) -> Result<()> {
    match lane {
        Lane::Short => SHORT.submit(job),
        Lane::Long => LONG.submit(job),
        Lane::Waiting => WAITING.submit(job),
    }
}

impl Queue {
    const fn new(name: &'static str, most_threads: usize, niceness: libc::c_int) -> Self {
        let state = State { jobs: VecDeque::new(), threads: 0, idle: 0 };
        Queue { name, most_threads, niceness, state: Mutex::new(state), filled: Condvar::new() }
    }

    fn submit(&'static self, job: Job) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.idle <= state.jobs.len() && state.threads < self.most_threads {
            match thread::Builder::new().name(self.name.to_owned()).spawn(|| self.work()) {
                Ok(_) => state.threads += 1,
                Err(error) if state.threads == 0 => {
                    return Err(Error::internal("no thread could be started").caused_by(error));
                }
                // The threads that run take this job in their turn.
                Err(_) => {}
            }
        }
        state.jobs.push_back(job);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    fn work(&self) {
        if self.niceness != 0 {
            // SAFETY: setpriority takes plain integers and touches no memory of ours; on Linux `who` 0 with
            // PRIO_PROCESS is the calling thread. A refusal costs speed only.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, self.niceness) };
        }
        loop {
            let job = self.next();
            // A job reports its own panics; this keeps the thread alive if that report fails as well.
            let _reported_by_the_job = catch_unwind(AssertUnwindSafe(job));
        }
    }

    fn next(&self) -> Job {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return job;
            }
            state.idle += 1;
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}
