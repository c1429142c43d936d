//! The workers that live now, each in its slot, where whoever finds it silent can end it.

use crate::support::worker::Process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A worker that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(180);

/// A slot, and the worker that lives in it. The process is reaped by whoever takes it out, so that nobody can kill
/// another one that was given its number.
#[derive(Default)]
pub struct Slot(Mutex<Option<Life>>);

struct Life {
    process: Process,
    heard: Instant,
}

/// A worker's time in its slot, at whose end it is killed and reaped.
pub struct Living<'s>(&'s Slot);

impl Slot {
    pub fn begin(&self, process: Process) -> Living<'_> {
        *self.life() = Some(Life { process, heard: Instant::now() });
        Living(self)
    }

    fn life(&self) -> MutexGuard<'_, Option<Life>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the worker if it hangs, and tells whether it did.
    pub fn kill_if_silent(&self) -> bool {
        let mut life = self.life();
        let Some(life) = life.as_mut().filter(|life| life.heard.elapsed() > SILENCE) else { return false };
        life.heard = Instant::now();
        life.process.kill().unwrap();
        true
    }
}

impl Living<'_> {
    /// The worker said something.
    pub fn hear(&self) {
        if let Some(life) = &mut *self.0.life() {
            life.heard = Instant::now();
        }
    }

    pub fn kill(&self) {
        if let Some(life) = &mut *self.0.life() {
            life.process.kill().unwrap();
        }
    }
}

impl Drop for Living<'_> {
    fn drop(&mut self) {
        let ended = self.0.life().take();
        drop(ended);
    }
}
