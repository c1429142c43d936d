//! Starts workers, kills them at random, and collects what is wrong.

use super::audit::{audit, verify_files};
use super::content::Dice;
use super::environment::Environment;
use super::expected_state::ExpectedState;
use super::findings::{findings_of, said};
use super::watch::Watch;
use super::work::worker_that_does_everything;
use super::worker_slots::Slot;
use crate::support::report::report;
use crate::support::swapper::Swapper;
use crate::support::worker::Worker;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;

/// The interval of progress reports.
const PROGRESS: Duration = Duration::from_secs(10);

/// Between two looks at what goes on.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Plan {
    pub seconds: Duration,
    /// How long the workers work between two audits, at most.
    pub round: Duration,
    pub seed: u64,
    /// See [`super::faulty::FAULTS`].
    pub fault: &'static str,
    /// It ends before its time with violations that say all of this.
    pub sought: &'static [&'static str],
}

pub struct Outcome {
    pub seed: u64,
    pub operations: u64,
    pub kills: u64,
    pub violations: Vec<String>,
    audits: u64,
    looks: u64,
    seconds: u64,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { seed, operations, kills, audits, looks, seconds, violations } = self;
        let violations = violations.len();
        write!(
            f,
            "{operations} operations, {kills} kills, {violations} violations \
             ({seconds} s, {audits} audits, {looks} looks, seed {seed})"
        )
    }
}

/// What all threads of a run share.
struct Run<'p> {
    plan: &'p Plan,
    started: Instant,
    operations: AtomicU64,
    kills: AtomicU64,
    audits: AtomicU64,
    looks: AtomicU64,
    violations: Mutex<Vec<String>>,
}

/// The workers of one round.
#[derive(Default)]
struct Round {
    is_over: AtomicBool,
    slots: [Slot; WORKERS],
}

/// Ends a round for its workers when dropped, so that no thread waits for them for ever.
struct Ends<'r>(&'r Round);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

pub fn soak(plan: &Plan) -> Outcome {
    let run = Run {
        plan,
        started: Instant::now(),
        operations: AtomicU64::new(0),
        kills: AtomicU64::new(0),
        audits: AtomicU64::new(0),
        looks: AtomicU64::new(0),
        violations: Mutex::default(),
    };
    let dir = tempfile::tempdir().unwrap();
    let environment = Environment::prepare(dir.path());
    let mut expected_states: Vec<_> = (0..WORKERS).map(|_| ExpectedState::default()).collect();
    let mut dice = Dice(plan.seed);
    report(format_args!("{} s, seed {}, {}", plan.seconds.as_secs(), plan.seed, plan.fault));
    thread::scope(|scope| {
        let (working, told) = mpsc::channel();
        // Under the name of the test, which a report begins with.
        let teller = thread::Builder::new().name(thread::current().name().unwrap_or("soak").to_owned());
        teller.spawn_scoped(scope, || run.tell_progress(told)).unwrap();
        while run.goes_on() {
            run.round(&environment, dir.path(), &mut expected_states, &mut dice);
        }
        drop(working);
    });
    run.outcome()
}

impl Run<'_> {
    fn goes_on(&self) -> bool {
        self.started.elapsed() < self.plan.seconds && !self.is_found_out()
    }

    fn is_found_out(&self) -> bool {
        let violations = self.violations();
        let is_said = |sought: &&str| violations.iter().any(|violation| violation.contains(sought));
        !violations.is_empty() && self.plan.sought.iter().all(is_said)
    }

    fn violations(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.violations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, wrong: impl IntoIterator<Item = String>) {
        self.violations().extend(wrong);
    }

    fn outcome(self) -> Outcome {
        Outcome {
            seed: self.plan.seed,
            operations: self.operations.into_inner(),
            kills: self.kills.into_inner(),
            audits: self.audits.into_inner(),
            looks: self.looks.into_inner(),
            seconds: self.started.elapsed().as_secs(),
            violations: self.violations.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Until the other end of the channel is gone.
    fn tell_progress(&self, working: mpsc::Receiver<()>) {
        let mut next = PROGRESS;
        while let Err(RecvTimeoutError::Timeout) =
            working.recv_timeout(next.saturating_sub(self.started.elapsed()))
        {
            next += PROGRESS;
            let (operations, kills) =
                (self.operations.load(Ordering::Relaxed), self.kills.load(Ordering::Relaxed));
            let (seconds, violations) = (self.started.elapsed().as_secs(), self.violations().len());
            report(format_args!(
                "{seconds} s: {operations} operations, {kills} kills, {violations} violations"
            ));
        }
    }

    /// Lets everybody work for a while, ends them all at once, and looks at what they left.
    fn round(
        &self,
        environment: &Environment,
        dir: &Path,
        expected_states: &mut [ExpectedState],
        dice: &mut Dice,
    ) {
        let guest = Swapper::start(&environment.swaps());
        let round = Round::default();
        let until = Instant::now() + self.plan.round / 6 * (1 + dice.below(6) as u32);
        thread::scope(|scope| {
            let ends = Ends(&round);
            let threads: Vec<_> = expected_states
                .iter_mut()
                .enumerate()
                .map(|(slot, expected_state)| {
                    let (round, seed) = (&round, dice.next());
                    scope.spawn(move || {
                        let mut dice = Dice(seed);
                        while !round.is_over.load(Ordering::Relaxed) {
                            self.run_worker(environment, dir, slot, expected_state, round, &mut dice);
                        }
                    })
                })
                .collect();
            self.note(findings_of(|| self.watch(environment, &round, until)));
            drop(ends);
            while threads.iter().any(|thread| !thread.is_finished()) {
                self.note(round.kill_the_silent());
                thread::park_timeout(PAUSE);
            }
            let ended = threads.into_iter().map(thread::ScopedJoinHandle::join);
            self.note(
                ended.filter_map(Result::err).map(|panic| format!("a thread panicked: {}", said(&*panic))),
            );
        });
        guest.stop();
        self.note(audit(environment, expected_states));
        self.audits.fetch_add(1, Ordering::Relaxed);
    }

    /// Looks at everything until the time has come or enough is wrong.
    fn watch(&self, environment: &Environment, round: &Round, until: Instant) -> Vec<String> {
        let watch = match Watch::new(environment) {
            Ok(watch) => watch,
            Err(wrong) => return vec![wrong],
        };
        while Instant::now() < until && self.goes_on() {
            self.note(watch.look());
            self.looks.fetch_add(1, Ordering::Relaxed);
            self.note(round.kill_the_silent());
            thread::park_timeout(PAUSE);
        }
        Vec::new()
    }

    /// One worker, from its start to its end, which is mostly a sudden one.
    fn run_worker(
        &self,
        environment: &Environment,
        dir: &Path,
        slot: usize,
        expected_state: &mut ExpectedState,
        round: &Round,
        dice: &mut Dice,
    ) {
        let mut worker = Worker::start(worker_that_does_everything, dir);
        let lives_out = dice.below(4) == 0;
        let operations = if lives_out { 25 + dice.below(100) } else { u64::MAX };
        let lines = if lives_out { u64::MAX } else { 1 + dice.below(150) };
        worker.order(&format!("{slot} {} {operations} {}", dice.next(), self.plan.fault));
        let Worker { process, mut answers } = worker;
        let living = round.slots[slot].begin(process);
        let mut hear = |line: &str| {
            living.hear();
            match expected_state.hear(line) {
                Ok(true) => drop(self.operations.fetch_add(1, Ordering::Relaxed)),
                Ok(false) => {}
                Err(wrong) => self.note([format!("worker {slot}: {wrong}")]),
            }
        };
        let mut heard = 0;
        for line in answers.by_ref() {
            hear(&line.unwrap());
            heard += 1;
            if heard == lines || round.is_over.load(Ordering::Relaxed) {
                (0..dice.below(300_000)).for_each(|_| std::hint::spin_loop());
                self.kills.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        living.kill();
        answers.for_each(|line| hear(&line.unwrap()));
        drop(living);
        self.note(expected_state.cut_short().map(|panic| format!("worker {slot} panicked: {panic}")));
        self.note(findings_of(|| verify_files(environment, expected_state, false)));
    }
}

impl Round {
    fn kill_the_silent(&self) -> Vec<String> {
        let silent = self.slots.iter().enumerate().filter(|(_, slot)| slot.kill_if_silent());
        silent.map(|(slot, _)| format!("worker {slot} hangs")).collect()
    }
}
