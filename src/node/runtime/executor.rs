//! Thread pools of this addon, one for each kind of job, so that a short job never queues behind a long one.
//! libuv's pool stays free for file calls of the user.

use crate::error::{Error, Result};
use crate::sync::{CancelToken, IgnorePoison, WaitingPool, join_pool};
use crate::sys::set_thread_niceness;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Condvar, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

/// The kind of a job.
#[derive(Clone, Debug)]
pub enum Pool {
    /// A few system calls on one file.
    Fast,
    /// At most about 10 ms of work: some MiB of a file, a batch of a listing, the first slice of a walk.
    Bulk,
    /// Moves much data of one file.
    Transfer,
    /// Walks a tree that takes longer than a slice.
    Walk,
    /// Deletes content, which may take long and cannot be cancelled.
    Delete,
    /// Copies a tree or a file. The copies of one store also share its slots.
    Copy(KeyedLimit),
    /// Waits for the disk, or for a lock that another process may hold.
    Blocking(Option<KeyedLimit>),
    /// Runs the job on that pool; once the token is cancelled, before all jobs that came earlier.
    Resumed(Box<Pool>, CancelToken),
}

/// Limits how many jobs with the same key run at a time, so that jobs that wait for one lock never take all
/// threads.
#[derive(Clone, Debug)]
pub struct KeyedLimit {
    /// Names what the jobs wait for.
    pub key: String,
    /// How many jobs with this key run at a time.
    pub max_running: usize,
    /// A cancelled job does not wait for others with its key.
    pub cancel: CancelToken,
}

impl KeyedLimit {
    /// Allows one job with this key at a time.
    pub fn exclusive(key: String, cancel: &CancelToken) -> Self {
        KeyedLimit { key, max_running: 1, cancel: cancel.clone() }
    }
}

type PoolJob = Box<dyn FnOnce() + Send>;

type KeyedJob = (Option<String>, PoolJob);

/// A job in the queue.
struct QueuedJob {
    key: Option<String>,
    /// Once it is cancelled, the job comes before all others.
    cancel: Option<CancelToken>,
    job: PoolJob,
}

struct JobQueue {
    name: &'static str,
    max_threads: usize,
    niceness: i32,
    state: Mutex<QueueState>,
    job_queued: Condvar,
    cancel_search: AtomicU8,
}

/// States of a request to end cancelled jobs: none is pending, a thread searches for such jobs, or a further
/// request came during the search.
const NOT_REQUESTED: u8 = 0;
const SEARCHING: u8 = 1;
const REQUESTED: u8 = 2;

struct QueueState {
    jobs: VecDeque<QueuedJob>,
    /// Cancelled jobs. They end as soon as they run, so they run before the others.
    cancelled: VecDeque<KeyedJob>,
    /// How many threads run only cancelled jobs.
    cancel_threads: usize,
    /// Keyed by the keys of the jobs that are queued or run.
    by_key: HashMap<String, KeyedJobs>,
    threads: usize,
    idle: usize,
}

/// How many waiting threads of all pools may be replaced by another thread.
const MAX_REPLACED: usize = 256;

static REPLACED: AtomicUsize = AtomicUsize::new(0);

/// How many extra threads of a pool may run cancelled jobs while all others work. Most of these jobs take no
/// time, but one may have to undo its work.
const MAX_CANCEL_THREADS: usize = 8;

/// How many idle threads a pool keeps, and how long the other threads wait for a job.
const MAX_IDLE_THREADS: usize = 16;
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The jobs of one key.
#[derive(Default)]
struct KeyedJobs {
    /// How many jobs are queued or run.
    running: usize,
    /// Jobs that wait until one of these is done.
    parked: VecDeque<(CancelToken, PoolJob)>,
}

static FAST: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-fast", 4, 0));
static BULK: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-bulk", 16, 0));
static TRANSFER: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volume-transfer", 16, 5));
static WALK: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-walk", 8, 5));
static DELETE: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-delete", 8, 5));
/// Most of these threads wait for a slot of their store.
static COPY: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volumes-copy", 128, 5));
/// A waiting thread costs little. There are more of them than volumes that are likely to be locked at once.
static BLOCKING: LazyLock<JobQueue> = LazyLock::new(|| JobQueue::new("volume-blocking", 128, 0));

/// Queues a job for a thread of its pool. Starts threads as needed. Fails if the pool has no thread and none
/// can be started.
pub fn submit(pool: Pool, job: PoolJob) -> Result<()> {
    submit_cancellable(pool, None, job)
}

/// Queues a job like [`submit`]. Once `cancel` is cancelled, the job runs before all others.
pub fn submit_cancellable(pool: Pool, cancel: Option<CancelToken>, job: PoolJob) -> Result<()> {
    match pool {
        Pool::Fast => FAST.submit(None, cancel, job),
        Pool::Bulk => BULK.submit(None, cancel, job),
        Pool::Transfer => TRANSFER.submit(None, cancel, job),
        Pool::Walk => WALK.submit(None, cancel, job),
        Pool::Delete => DELETE.submit(None, cancel, job),
        Pool::Copy(limit) => COPY.submit(Some(limit), cancel, job),
        Pool::Blocking(limit) => BLOCKING.submit(limit, cancel, job),
        Pool::Resumed(pool, cancel) => submit_cancellable(*pool, Some(cancel), job),
    }
}

/// Returns true if a job with this key waits or runs on [`Pool::Blocking`].
pub fn has_blocking_job(key: &str) -> bool {
    BLOCKING.state.lock().ignore_poison().by_key.contains_key(key)
}

/// Ends cancelled jobs that are queued, or wait for their key, now. Returns at once, however many there are.
pub fn release_cancelled() {
    for queue in [&FAST, &BULK, &TRANSFER, &WALK, &DELETE, &COPY, &BLOCKING] {
        queue.release_cancelled();
    }
}

impl JobQueue {
    fn new(name: &'static str, max_threads: usize, niceness: i32) -> Self {
        let (jobs, cancelled) = (VecDeque::new(), VecDeque::new());
        let state =
            QueueState { jobs, cancelled, cancel_threads: 0, by_key: HashMap::new(), threads: 0, idle: 0 };
        let (state, job_queued, cancel_search) =
            (Mutex::new(state), Condvar::new(), AtomicU8::new(NOT_REQUESTED));
        JobQueue { name, max_threads, niceness, state, job_queued, cancel_search }
    }

    fn submit(
        &'static self,
        limit: Option<KeyedLimit>,
        cancel: Option<CancelToken>,
        job: PoolJob,
    ) -> Result<()> {
        let mut state = self.state.lock().ignore_poison();
        if let Some(limit) = &limit
            && let Some(jobs_of_key) = state.by_key.get_mut(&limit.key)
            && jobs_of_key.running >= limit.max_running
        {
            jobs_of_key.parked.push_back((limit.cancel.clone(), job));
            drop(state);
            self.release_if_cancelled(Some(&limit.cancel));
            return Ok(());
        }
        match self.start_if_needed(&mut state) {
            Err(error) if state.threads == 0 => {
                return Err(Error::internal("no thread could be started").caused_by(error));
            }
            // A running thread takes this job later.
            _ => {}
        }
        let (key, cancel_of_key) = limit.map(|limit| (limit.key, limit.cancel)).unzip();
        if let Some(key) = &key {
            state.by_key.entry(key.clone()).or_default().running += 1;
        }
        let cancel = cancel_of_key.or(cancel);
        state.jobs.push_back(QueuedJob { key, cancel: cancel.clone(), job });
        let has_idle_thread = state.idle >= state.jobs.len() + state.cancelled.len();
        drop(state);
        self.job_queued.notify_one();
        if !has_idle_thread {
            self.release_if_cancelled(cancel.as_ref());
        }
        Ok(())
    }

    /// Ends a job that was cancelled before it was queued. A later cancellation finds it in the queue.
    fn release_if_cancelled(&'static self, cancel: Option<&CancelToken>) {
        if cancel.is_some_and(|cancel| cancel.check().is_err()) {
            self.release_cancelled();
        }
    }

    /// Starts a thread for one more job unless enough threads are idle.
    fn start_if_needed(&'static self, state: &mut QueueState) -> io::Result<()> {
        if state.idle <= state.jobs.len() && state.threads < self.max_threads {
            thread::Builder::new().name(self.name.to_owned()).spawn(|| self.work())?;
            state.threads += 1;
        }
        Ok(())
    }

    /// Queues the next job with the key of a finished one, behind jobs of other keys.
    fn finish_key(&self, key: String) {
        let mut state = self.state.lock().ignore_poison();
        let Some(jobs_of_key) = state.by_key.get_mut(&key) else { return };
        if let Some((cancel, next)) = jobs_of_key.parked.pop_front() {
            state.jobs.push_back(QueuedJob { key: Some(key), cancel: Some(cancel), job: next });
            return;
        }
        jobs_of_key.running -= 1;
        if jobs_of_key.running == 0 {
            state.by_key.remove(&key);
        }
    }

    /// Runs the cancelled jobs now, which ends them. One thread searches for all that are cancelled during
    /// the search.
    fn release_cancelled(&'static self) {
        if self.cancel_search.swap(REQUESTED, Ordering::AcqRel) != NOT_REQUESTED {
            return;
        }
        let is_empty = {
            self.cancel_search.store(SEARCHING, Ordering::Release);
            let state = self.state.lock().ignore_poison();
            state.jobs.is_empty() && state.by_key.values().all(|jobs| jobs.parked.is_empty())
        };
        if is_empty && self.finish_cancel_search() {
            return;
        }
        let searcher = thread::Builder::new().name(self.name.to_owned()).spawn(|| self.search_cancelled());
        if searcher.is_err() {
            self.search_cancelled();
        }
    }

    /// Ends the search for cancelled jobs. Returns `false` if there was a further request.
    fn finish_cancel_search(&self) -> bool {
        self.cancel_search
            .compare_exchange(SEARCHING, NOT_REQUESTED, Ordering::AcqRel, Ordering::Acquire)
            .is_ok()
    }

    fn search_cancelled(&'static self) {
        loop {
            self.cancel_search.store(SEARCHING, Ordering::Release);
            let mut state = self.state.lock().ignore_poison();
            state.extract_cancelled();
            // If no thread can be started, the running threads end them.
            let cancel_threads = state.cancelled.len().min(MAX_CANCEL_THREADS);
            while state.cancel_threads < cancel_threads
                && thread::Builder::new().name(self.name.to_owned()).spawn(|| self.run_cancelled()).is_ok()
            {
                state.cancel_threads += 1;
            }
            drop(state);
            if self.finish_cancel_search() {
                return;
            }
        }
    }

    fn run_cancelled(&'static self) {
        loop {
            let mut state = self.state.lock().ignore_poison();
            if !state.jobs.is_empty() {
                // A job may have been queued because another with its key ended here. If no thread can be
                // started, a running thread takes it.
                let _started = self.start_if_needed(&mut state);
                self.job_queued.notify_one();
            }
            let Some(job) = state.cancelled.pop_front() else {
                state.cancel_threads -= 1;
                return;
            };
            drop(state);
            self.run(job);
        }
    }

    fn run(&self, (key, job): KeyedJob) {
        // A job reports its own panics. This keeps the thread alive if that report panics too.
        let _reported_by_the_job = catch_unwind(AssertUnwindSafe(job));
        if let Some(key) = key {
            self.finish_key(key);
        }
    }

    fn work(&'static self) {
        join_pool(self);
        if self.niceness != 0 {
            set_thread_niceness(self.niceness);
        }
        while let Some(job) = self.next() {
            self.run(job);
        }
    }

    /// Returns the next job, or `None` if the thread is not needed any more.
    fn next(&self) -> Option<KeyedJob> {
        let mut state = self.state.lock().ignore_poison();
        let mut is_idle_for_long = false;
        loop {
            if let Some(job) = state.cancelled.pop_front() {
                return Some(job);
            }
            if let Some(QueuedJob { key, job, .. }) = state.jobs.pop_front() {
                return Some((key, job));
            }
            if is_idle_for_long && state.threads > self.max_threads.min(MAX_IDLE_THREADS) {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            let waited = self.job_queued.wait_timeout(state, IDLE_TIMEOUT);
            let (woken, timeout) = waited.ignore_poison();
            (state, is_idle_for_long) = (woken, timeout.timed_out());
            state.idle -= 1;
        }
    }
}

impl QueueState {
    /// Moves cancelled jobs to the queue that runs first.
    fn extract_cancelled(&mut self) {
        let QueueState { jobs, cancelled, by_key, .. } = self;
        for KeyedJobs { parked, .. } in by_key.values_mut() {
            let (taken, kept): (VecDeque<_>, _) =
                parked.drain(..).partition(|(cancel, _): &(CancelToken, PoolJob)| cancel.check().is_err());
            *parked = kept;
            cancelled.extend(taken.into_iter().map(|(_, job)| (None, job)));
        }
        let is_cancelled =
            |queued: &QueuedJob| queued.cancel.as_ref().is_some_and(|cancel| cancel.check().is_err());
        let (taken, kept): (VecDeque<_>, _) = jobs.drain(..).partition(is_cancelled);
        *jobs = kept;
        cancelled.extend(taken.into_iter().map(|QueuedJob { key, job, .. }| (key, job)));
    }
}

impl WaitingPool for JobQueue {
    fn replace_waiting(&'static self) -> bool {
        let increment = |replaced: usize| (replaced < MAX_REPLACED).then_some(replaced + 1);
        if REPLACED.fetch_update(Ordering::AcqRel, Ordering::Acquire, increment).is_err() {
            return false;
        }
        let mut state = self.state.lock().ignore_poison();
        state.threads = state.threads.saturating_sub(1);
        if !state.jobs.is_empty() && state.idle == 0 {
            // If no thread can be started, the jobs wait for a running thread. This one runs again after its
            // wait.
            let _started = self.start_if_needed(&mut state);
        }
        true
    }

    fn take_back(&self) {
        REPLACED.fetch_sub(1, Ordering::AcqRel);
        self.state.lock().ignore_poison().threads += 1;
    }
}
