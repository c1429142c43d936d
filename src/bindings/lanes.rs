//! Threads of our own, in three lanes: for what is over soon, for what may take long, and for what may have to
//! wait for somebody, so that nothing else waits with it. libuv's pool stays with the user's own file calls.

#![expect(unsafe_code, reason = "setpriority has no safe wrapper among our dependencies")]

use crate::error::{Error, Result};
use crate::model::Cancel;
use nix::libc;
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::thread;

/// Which kind of job it is.
#[derive(Clone, Debug)]
pub enum Lane {
    /// A few system calls on one file.
    Short,
    /// Walks a tree, or moves much data.
    Long,
    /// Takes a lock that another process may hold, and waits for its turn to do so.
    Waiting(Option<Turn>),
}

/// Of jobs with the same key one runs at a time, so that those which wait for one lock never take all the threads.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What they wait for.
    pub key: String,
    /// Once it is cancelled, a job does not wait for its turn.
    pub cancel: Cancel,
}

type Job = Box<dyn FnOnce() + Send>;

type KeyedJob = (Option<String>, Job);

struct Queue {
    name: &'static str,
    most_threads: usize,
    niceness: libc::c_int,
    state: Mutex<State>,
    filled: Condvar,
}

struct State {
    jobs: VecDeque<KeyedJob>,
    /// By the keys of the jobs that are queued or run: those that come after them.
    parked: HashMap<String, VecDeque<(Cancel, Job)>>,
    threads: usize,
    idle: usize,
}

static SHORT: LazyLock<Queue> = LazyLock::new(|| Queue::new("volumes-short", 4, 0));
static LONG: LazyLock<Queue> = LazyLock::new(|| Queue::new("volumes-long", 16, 5));
static WAITING: LazyLock<Queue> = LazyLock::new(|| Queue::new("volumes-waiting", 16, 5));

/// Queues a job, which runs on a thread of its lane. Threads start when they are first needed and stay.
pub fn submit(lane: Lane, job: Job) -> Result<()> {
    match lane {
        Lane::Short => SHORT.submit(None, job),
        Lane::Long => LONG.submit(None, job),
        Lane::Waiting(turn) => WAITING.submit(turn, job),
    }
}

/// Has cancelled jobs that wait for their turn end now.
pub fn release_cancelled() {
    WAITING.release_cancelled();
}

impl Queue {
    fn new(name: &'static str, most_threads: usize, niceness: libc::c_int) -> Self {
        let state = State { jobs: VecDeque::new(), parked: HashMap::new(), threads: 0, idle: 0 };
        Queue { name, most_threads, niceness, state: Mutex::new(state), filled: Condvar::new() }
    }

    fn submit(&'static self, turn: Option<Turn>, job: Job) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = &turn
            && let Some(parked) = state.parked.get_mut(&turn.key)
        {
            parked.push_back((turn.cancel.clone(), job));
            return Ok(());
        }
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
        let key = turn.map(|turn| turn.key);
        if let Some(key) = &key {
            state.parked.insert(key.clone(), VecDeque::new());
        }
        state.jobs.push_back((key, job));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Lets the next job with the key of one that is done come to its turn, behind those of other keys.
    fn done(&self, key: String) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.parked.get_mut(&key).and_then(VecDeque::pop_front) {
            Some((_, next)) => state.jobs.push_back((Some(key), next)),
            None => drop(state.parked.remove(&key)),
        }
    }

    /// Has the jobs that were cancelled run now, which ends them.
    fn release_cancelled(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { jobs, parked, .. } = &mut *state;
        for waiting in parked.values_mut() {
            let (cancelled, kept) =
                waiting.drain(..).partition(|(cancel, _): &(Cancel, Job)| cancel.check().is_err());
            *waiting = kept;
            let cancelled: VecDeque<(Cancel, Job)> = cancelled;
            jobs.extend(cancelled.into_iter().map(|(_, job)| (None, job)));
        }
        self.filled.notify_all();
    }

    fn work(&self) {
        if self.niceness != 0 {
            // SAFETY: setpriority takes plain integers and touches no memory of ours; on Linux `who` 0 with
            // PRIO_PROCESS is the calling thread. A refusal costs speed only.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, self.niceness) };
        }
        loop {
            let (key, job) = self.next();
            // A job reports its own panics; this keeps the thread alive if that report fails as well.
            let _reported_by_the_job = catch_unwind(AssertUnwindSafe(job));
            if let Some(key) = key {
                self.done(key);
            }
        }
    }

    fn next(&self) -> KeyedJob {
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
