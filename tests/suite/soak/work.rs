//! A worker: a process that does one operation after the other, and reports each before and after it.

use super::content::Dice;
use super::environment;
use super::faulty::NO_FAULT;
use crate::support::read_only::assert_only_temp_dir_is_writable;
use crate::support::worker::{home, orders, say};
use sandbox_volumes::error::Error;
use sandbox_volumes::store::{Durability, Store};
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

/// How a worker begins what it says before an operation, after it, and at its end.
pub const BEGINS: &str = "> ";
pub const ENDS: &str = "< ";
pub const LEAVES: &str = "leaves ";

/// What stands behind an operation that did what was asked.
pub const OK: &str = "ok";

/// An operation that did not keep a promise, however it answered.
pub const BROKEN: &str = "BROKEN";

pub struct Work {
    pub store: Arc<Store>,
    /// Of the files and the volumes that are this worker's alone.
    pub slot: usize,
    pub dice: Dice,
    /// See [`super::faulty::FAULTS`].
    pub fault: String,
    pub never_closed: Vec<File>,
    /// On the host: what is copied in and out, and the home.
    pub host: PathBuf,
    pub home: PathBuf,
}

/// What an operation says of its outcome.
pub type Outcome = Result<String, Error>;

pub fn ok() -> Outcome {
    Ok(OK.to_owned())
}

impl Work {
    /// Tells what is to be done, does it, and tells how it went. False where it was refused.
    pub fn tell(&mut self, what: &str, act: impl FnOnce(&mut Self) -> Outcome) -> bool {
        say(format!("{BEGINS}{what}"));
        let outcome = act(self);
        let succeeded = outcome.is_ok();
        let said = outcome.unwrap_or_else(|error| format!("{} {error}", error.code()));
        say(format!("{ENDS}{}", said.replace('\n', " ")));
        succeeded
    }

    fn act(&mut self) {
        self.act_on_its_fault();
        match self.dice.below(100) {
            0..55 => self.act_on_own_files(),
            55..65 => self.act_on_shared_files(),
            65..75 => self.act_on_what_a_guest_has(),
            75..87 => self.act_on_own_volumes(),
            _ => self.act_on_the_pool(),
        }
    }
}

/// The open descriptors and the threads of this process, once its store is another, for one in use holds the volumes
/// that were used lately.
fn held(work: &mut Work, durability: Durability) -> [usize; 2] {
    work.store = Arc::new(Store::open(&work.home, durability).unwrap());
    ["/proc/self/fd", "/proc/self/task"].map(|held| fs::read_dir(held).unwrap().count())
}

#[test]
#[ignore = "a worker that another test starts as a second process"]
pub fn worker_that_does_everything() {
    let Some(dir) = home() else { return };
    let order = orders().next().unwrap();
    let words: Vec<_> = order.split(' ').collect();
    let [slot, seed, operations, fault] = words[..] else { panic!("{order}") };
    if fault != NO_FAULT {
        assert_only_temp_dir_is_writable();
    }
    let slot: usize = slot.parse().unwrap();
    let host = dir.join("host").join(slot.to_string());
    fs::create_dir_all(&host).unwrap();
    let home = environment::home(&dir);
    let durability = if slot.is_multiple_of(2) { Durability::Fast } else { Durability::Full };
    let store = Arc::new(Store::open(&home, durability).unwrap());
    let dice = Dice(seed.parse().unwrap());
    let mut work = Work { store, slot, dice, fault: fault.to_owned(), never_closed: Vec::new(), host, home };
    // SQLite keeps the descriptors of connections that were closed for the next ones to one file.
    drop(Store::open(&work.home, durability).unwrap());
    let mut at_first = None;
    for at in 0..operations.parse::<u64>().unwrap() {
        if at == 20 {
            at_first = Some(held(&mut work, durability));
        }
        work.act();
    }
    if let Some([descriptors, threads]) = at_first {
        let [descriptors_now, threads_now] = held(&mut work, durability);
        say(format!("{LEAVES}{descriptors} {descriptors_now} {threads} {threads_now}"));
    }
}
