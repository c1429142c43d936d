//! Starts it all, kills at random, and collects what is wrong.

use crate::audit::{audit, verify_files};
use crate::content::Dice;
use crate::ground::Ground;
use crate::ledger::Ledger;
use crate::report::report;
use crate::swapper::Swapper;
use crate::watch::Watch;
use crate::worker::Worker;
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: usize = 4;

/// How often it is told how far it has come.
const PROGRESS: Duration = Duration::from_secs(10);

/// A worker that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(60);

/// How long the workers work between two audits, at most.
const ROUND: Duration = Duration::from_secs(6);

/// Between two looks at what goes on.
const PAUSE: Duration = Duration::from_millis(20);

pub struct Plan {
    pub seconds: Duration,
    pub seed: u64,
    /// See [`crate::work::CARELESS`].
    pub careless: &'static str,
    /// It ends before its time with so many violations.
    pub enough: usize,
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
struct Round {
    is_over: AtomicBool,
    /// By worker: its process, and when it was heard last.
    heard: [Mutex<Option<(u32, Instant)>>; WORKERS],
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
    let ground = Ground::prepare(dir.path());
    let mut ledgers: Vec<_> = (0..WORKERS).map(|_| Ledger::default()).collect();
    let mut dice = Dice(plan.seed);
    report(format_args!("{} s, seed {}, {}", plan.seconds.as_secs(), plan.seed, plan.careless));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let telling = scope.spawn(|| run.tell_progress(&over));
        while run.goes_on() {
            run.round(&ground, dir.path(), &mut ledgers, &mut dice);
        }
        over.store(true, Ordering::Relaxed);
        telling.thread().unpark();
    });
    run.outcome()
}

impl Run<'_> {
    fn goes_on(&self) -> bool {
        self.started.elapsed() < self.plan.seconds && self.violations().len() < self.plan.enough
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

    fn tell_progress(&self, over: &AtomicBool) {
        let mut next = PROGRESS;
        while !over.load(Ordering::Relaxed) {
            thread::park_timeout(next.saturating_sub(self.started.elapsed()));
            if self.started.elapsed() >= next {
                next += PROGRESS;
                let (operations, kills) =
                    (self.operations.load(Ordering::Relaxed), self.kills.load(Ordering::Relaxed));
                let (seconds, violations) = (self.started.elapsed().as_secs(), self.violations().len());
                report(format_args!(
                    "{seconds} s: {operations} operations, {kills} kills, {violations} violations"
                ));
            }
        }
    }

    /// Lets everybody work for a while, ends them all at once, and looks at what they left.
    fn round(&self, ground: &Ground, dir: &Path, ledgers: &mut [Ledger], dice: &mut Dice) {
        let guest = Swapper::start(&ground.swaps());
        let round = Round { is_over: AtomicBool::new(false), heard: Default::default() };
        let until = Instant::now() + ROUND / 6 * (1 + dice.below(6) as u32);
        thread::scope(|scope| {
            for (slot, ledger) in ledgers.iter_mut().enumerate() {
                let (round, seed) = (&round, dice.next());
                scope.spawn(move || {
                    let mut dice = Dice(seed);
                    while !round.is_over.load(Ordering::Relaxed) {
                        self.life(ground, dir, slot, ledger, round, &mut dice);
                    }
                });
            }
            let watch = Watch::new(ground);
            while Instant::now() < until && self.goes_on() {
                self.note(watch.look());
                self.looks.fetch_add(1, Ordering::Relaxed);
                round.kill_the_silent(self);
                thread::park_timeout(PAUSE);
            }
            round.is_over.store(true, Ordering::Relaxed);
            while round.somebody_lives() {
                round.kill_the_silent(self);
                thread::park_timeout(PAUSE);
            }
        });
        guest.stop();
        self.note(audit(ground, ledgers));
        self.audits.fetch_add(1, Ordering::Relaxed);
    }

    /// One worker, from its start to its end, which is mostly a sudden one.
    fn life(
        &self,
        ground: &Ground,
        dir: &Path,
        slot: usize,
        ledger: &mut Ledger,
        round: &Round,
        dice: &mut Dice,
    ) {
        let mut worker = Worker::start("work::worker_that_does_everything", dir);
        let process = worker.process.id();
        let lives_out = dice.below(4) == 0;
        let operations = if lives_out { 50 + dice.below(100) } else { u64::MAX };
        let lines = if lives_out { u64::MAX } else { 1 + dice.below(150) };
        worker.order(&format!("{slot} {} {operations} {}", dice.next(), self.plan.careless));
        let mut heard = 0;
        let mut hear = |line: &str| {
            round.hear(slot, process);
            match ledger.hear(line) {
                Ok(true) => drop(self.operations.fetch_add(1, Ordering::Relaxed)),
                Ok(false) => {}
                Err(wrong) => self.note([format!("worker {slot}: {wrong}")]),
            }
        };
        round.hear(slot, process);
        while let Some(line) = worker.answer() {
            hear(&line);
            heard += 1;
            if heard == lines || round.is_over.load(Ordering::Relaxed) {
                (0..dice.below(300_000)).for_each(|_| std::hint::spin_loop());
                self.kills.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        worker.process.kill().unwrap();
        while let Some(line) = worker.answer() {
            hear(&line);
        }
        worker.process.wait().unwrap();
        self.note(ledger.cut_short().map(|panic| format!("worker {slot} panicked: {panic}")));
        self.note(verify_files(ground, ledger, false));
        round.forget(slot);
    }
}

impl Round {
    fn hear(&self, slot: usize, process: u32) {
        *self.heard[slot].lock().unwrap() = Some((process, Instant::now()));
    }

    fn forget(&self, slot: usize) {
        *self.heard[slot].lock().unwrap() = None;
    }

    fn somebody_lives(&self) -> bool {
        self.heard.iter().any(|heard| heard.lock().unwrap().is_some())
    }

    fn kill_the_silent(&self, run: &Run<'_>) {
        for (slot, heard) in self.heard.iter().enumerate() {
            let mut heard = heard.lock().unwrap();
            if let Some((process, last)) = *heard
                && last.elapsed() > SILENCE
            {
                run.note([format!("worker {slot} hangs")]);
                Command::new("sh").args(["-c", &format!("kill -KILL {process}")]).status().unwrap();
                *heard = Some((process, Instant::now()));
            }
        }
    }
}
