//! Thread pools of our own, one for each kind of job, so that a short job never queues behind a long one. libuv's pool
//! stays with the user's own file calls.

#![expect(unsafe_code, reason = "setpriority has no safe wrapper among our dependencies")]

use crate::error::{Error, Result};
use crate::sync::{CancelToken, IgnorePoison, WaitingPool, join_pool};
use nix::libc;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Condvar, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

/// Which kind of job it is.
#[derive(Clone, Debug)]
pub enum Pool {
    /// A few system calls on one file.
    Fast,
    /// At most about 10 ms of work: some MiB of a file, a batch of a listing, the first slice of a walk.
    Bulk,
    /// Moves much data of one file.
    Transfer,
    /// Walks a tree that took longer than a slice.
    Walk,
    /// Copies a tree or a file. The copies of one store also take turns at its slots.
    Copy(KeyedLimit),
    /// Waits for the disk, or for a lock that another process may hold.
    Blocking(Option<KeyedLimit>),
}

/// Of jobs with the same key only some run at a time, so that those which wait for one lock never take all the threads.
#[derive(Clone, Debug)]
pub struct KeyedLimit {
    /// What they wait for.
    pub key: String,
    /// How many of them run at a time.
    pub limit: usize,
    /// Once it is cancelled, a job does not wait for its turn.
    pub cancel: CancelToken,
}

impl KeyedLimit {
    /// A turn that only one job has at a time.
    pub fn one(key: String, cancel: &CancelToken) -> Self {
        KeyedLimit { key, limit: 1, cancel: cancel.clone() }
    }
}

type Job = Box<dyn FnOnce() + Send>;

type KeyedJob = (Option<String>, Job);

/// A job in the queue, with its turn.
type QueuedJob = (Option<(String, CancelToken)>, Job);

struct JobQueue {
    name: &'static str,
    max_threads: usize,
    niceness: libc::c_int,
    state: Mutex<QueueState>,
    filled: Condvar,
    release: AtomicU8,
}

/// What becomes of a request to end cancelled jobs: nobody asked, somebody looks for such jobs, or it was asked for anew
/// meanwhile.
const UNASKED: u8 = 0;
const LOOKING: u8 = 1;
const ASKED: u8 = 2;

struct QueueState {
    jobs: VecDeque<QueuedJob>,
    /// Those that were cancelled, which end as soon as they run: they come before the others.
    cancelled: VecDeque<KeyedJob>,
    /// How many threads there are that only end cancelled jobs.
    enders: usize,
    /// By the keys of the jobs that are queued or run.
    turns: HashMap<String, KeyedJobs>,
    threads: usize,
    idle: usize,
}

/// How many threads of all pools may wait with another in their place.
const MAX_REPLACED: usize = 256;

static REPLACED: AtomicUsize = AtomicUsize::new(0);

/// How many threads of a pool may end cancelled jobs while all others work. Most take no time; one that has to undo
/// something may.
const MAX_ENDERS: usize = 8;

/// How many threads of a pool stay when there is nothing to do, and how long the others wait for a job.
const KEPT_THREADS: usize = 16;
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The jobs of one key.
#[derive(Default)]
struct KeyedJobs {
    /// How many are queued or run.
    running: usize,
    /// Those that come after them.
    parked: VecDeque<(CancelToken, Job)>,
}

static FAST: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-short", 4, 0));
static BULK: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-long", 16, 0));
static TRANSFER: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-bulk", 16, 5));
static WALK: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-walk", 8, 5));
/// Most of these threads wait for a slot of their store.
static COPY: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-copies", 128, 5));
/// A thread that waits costs little. There are more of them than volumes that are likely to be locked at once.
static BLOCKING: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-waiting", 128, 0));

/// Queues a job, which runs on a thread of its pool. Threads start when they are needed.
pub fn submit(pool: Pool, job: Job) -> Result<()> {
    match pool {
        Pool::Fast => FAST.submit(None, job),
        Pool::Bulk => BULK.submit(None, job),
        Pool::Transfer => TRANSFER.submit(None, job),
        Pool::Walk => WALK.submit(None, job),
        Pool::Copy(turn) => COPY.submit(Some(turn), job),
        Pool::Blocking(turn) => BLOCKING.submit(turn, job),
    }
}

/// Has cancelled jobs that wait for their turn end now. Returns at once, however many jobs there are.
pub fn release_cancelled() {
    BLOCKING.release_cancelled();
    COPY.release_cancelled();
}

impl JobQueue {
    fn new(name: &'static str, max_threads: usize, niceness: libc::c_int) -> Self {
        let (jobs, cancelled) = (VecDeque::new(), VecDeque::new());
        let state = QueueState { jobs, cancelled, enders: 0, turns: HashMap::new(), threads: 0, idle: 0 };
        let (state, filled, release) = (Mutex::new(state), Condvar::new(), AtomicU8::new(UNASKED));
        JobQueue { name, max_threads, niceness, state, filled, release }
    }

    fn submit(&'static self, turn: Option<KeyedLimit>, job: Job) -> Result<()> {
        let mut state = self.state.lock().ignore_poison();
        if let Some(turn) = &turn
            && let Some(turns) = state.turns.get_mut(&turn.key)
            && turns.running >= turn.limit
        {
            turns.parked.push_back((turn.cancel.clone(), job));
            return Ok(());
        }
        match self.start_if_needed(&mut state) {
            Err(error) if state.threads == 0 => {
                return Err(Error::internal("no thread could be started").caused_by(error));
            }
            // The threads that run take this job in their turn.
            _ => {}
        }
        let turn = turn.map(|turn| (turn.key, turn.cancel));
        if let Some((key, _)) = &turn {
            state.turns.entry(key.clone()).or_default().running += 1;
        }
        state.jobs.push_back((turn, job));
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Starts a thread for one more job, if those that are idle have others to do.
    fn start_if_needed(&'static self, state: &mut QueueState) -> io::Result<()> {
        if state.idle <= state.jobs.len() && state.threads < self.max_threads {
            thread::Builder::new().name(self.name.to_owned()).spawn(|| self.work())?;
            state.threads += 1;
        }
        Ok(())
    }

    /// Lets the next job with the key of one that is done come to its turn, behind those of other keys.
    fn done(&self, key: String) {
        let mut state = self.state.lock().ignore_poison();
        let Some(turns) = state.turns.get_mut(&key) else { return };
        if let Some((cancel, next)) = turns.parked.pop_front() {
            state.jobs.push_back((Some((key, cancel)), next));
            return;
        }
        turns.running -= 1;
        if turns.running == 0 {
            state.turns.remove(&key);
        }
    }

    /// Has the jobs that were cancelled run now, which ends them. They are looked for on another thread, once for all
    /// that are cancelled meanwhile.
    fn release_cancelled(&'static self) {
        if self.release.swap(ASKED, Ordering::AcqRel) != UNASKED {
            return;
        }
        let is_empty = {
            self.release.store(LOOKING, Ordering::Release);
            let state = self.state.lock().ignore_poison();
            state.jobs.is_empty() && state.turns.values().all(|turns| turns.parked.is_empty())
        };
        if is_empty && self.has_looked() {
            return;
        }
        let looker = thread::Builder::new().name(self.name.to_owned()).spawn(|| self.look_for_cancelled());
        if looker.is_err() {
            self.look_for_cancelled();
        }
    }

    /// Ends the search for cancelled jobs, unless it was asked for anew.
    fn has_looked(&self) -> bool {
        self.release.compare_exchange(LOOKING, UNASKED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn look_for_cancelled(&'static self) {
        loop {
            self.release.store(LOOKING, Ordering::Release);
            let mut state = self.state.lock().ignore_poison();
            state.take_out_cancelled();
            // If none can be started, the threads that run end them.
            let enders = state.cancelled.len().min(MAX_ENDERS);
            while state.enders < enders
                && thread::Builder::new().name(self.name.to_owned()).spawn(|| self.end_cancelled()).is_ok()
            {
                state.enders += 1;
            }
            drop(state);
            if self.has_looked() {
                return;
            }
        }
    }

    fn end_cancelled(&'static self) {
        loop {
            let mut state = self.state.lock().ignore_poison();
            if !state.jobs.is_empty() {
                // One of them may have had its turn because of what ended here. The threads that run come to it as well.
                let _started = self.start_if_needed(&mut state);
                self.filled.notify_one();
            }
            let Some(job) = state.cancelled.pop_front() else {
                state.enders -= 1;
                return;
            };
            drop(state);
            self.perform(job);
        }
    }

    fn perform(&self, (key, job): KeyedJob) {
        // A job reports its own panics; this keeps the thread alive if that report fails as well.
        let _reported_by_the_job = catch_unwind(AssertUnwindSafe(job));
        if let Some(key) = key {
            self.done(key);
        }
    }

    fn work(&'static self) {
        join_pool(self);
        if self.niceness != 0 {
            // SAFETY: setpriority takes plain integers and touches no memory of ours; on Linux `who` 0 with
            // PRIO_PROCESS is the calling thread. A refusal costs speed only.
            unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, self.niceness) };
        }
        while let Some(job) = self.next() {
            self.perform(job);
        }
    }

    /// The next job; returns `None` if the thread is not needed any more.
    fn next(&self) -> Option<KeyedJob> {
        let mut state = self.state.lock().ignore_poison();
        let mut is_idle_for_long = false;
        loop {
            if let Some(job) = state.cancelled.pop_front() {
                return Some(job);
            }
            if let Some((turn, job)) = state.jobs.pop_front() {
                return Some((turn.map(|(key, _)| key), job));
            }
            if is_idle_for_long && state.threads > self.max_threads.min(KEPT_THREADS) {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let waited = self.filled.wait_timeout(state, IDLE_TIMEOUT);
            let (woken, timeout) = waited.ignore_poison();
            (state, is_idle_for_long) = (woken, timeout.timed_out());
            state.idle -= 1;
        }
    }
}

impl QueueState {
    /// Moves the jobs that were cancelled to those that come first.
    fn take_out_cancelled(&mut self) {
        let QueueState { jobs, cancelled, turns, .. } = self;
        for KeyedJobs { parked, .. } in turns.values_mut() {
            let (taken, kept): (VecDeque<_>, _) =
                parked.drain(..).partition(|(cancel, _): &(CancelToken, Job)| cancel.check().is_err());
            *parked = kept;
            cancelled.extend(taken.into_iter().map(|(_, job)| (None, job)));
        }
        let is_cancelled =
            |(turn, _): &QueuedJob| turn.as_ref().is_some_and(|(_, cancel)| cancel.check().is_err());
        let (taken, kept): (VecDeque<_>, _) = jobs.drain(..).partition(is_cancelled);
        *jobs = kept;
        cancelled.extend(taken.into_iter().map(|(turn, job)| (turn.map(|(key, _)| key), job)));
    }
}

impl WaitingPool for JobQueue {
    fn replace_waiting(&'static self) -> bool {
        let may_be = |replaced: usize| (replaced < MAX_REPLACED).then_some(replaced + 1);
        if REPLACED.fetch_update(Ordering::AcqRel, Ordering::Acquire, may_be).is_err() {
            return false;
        }
        let mut state = self.state.lock().ignore_poison();
        state.threads = state.threads.saturating_sub(1);
        if !state.jobs.is_empty() && state.idle == 0 {
            // If none can be started, the jobs wait for a thread that runs, as this one will.
            let _started = self.start_if_needed(&mut state);
        }
        true
    }

    fn take_back(&self) {
        REPLACED.fetch_sub(1, Ordering::AcqRel);
        self.state.lock().ignore_poison().threads += 1;
    }
}
