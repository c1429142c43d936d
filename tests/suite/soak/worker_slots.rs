//! Running workers, each in a slot. Another thread can end a worker that hangs.

use crate::support::worker::Process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A worker that says nothing for so long hangs.
const SILENCE: Duration = Duration::from_secs(180);

/// A slot and its worker. Only the thread that takes the worker out reaps the process, so that no thread can kill a
/// later process of the same id.
#[derive(Default)]
pub struct Slot(Mutex<Option<RunningWorker>>);

struct RunningWorker {
    process: Process,
    heard: Instant,
}

/// Kills and reaps the worker of a slot when dropped.
pub struct SlotGuard<'s>(&'s Slot);

impl Slot {
    pub fn begin(&self, process: Process) -> SlotGuard<'_> {
        *self.worker() = Some(RunningWorker { process, heard: Instant::now() });
        SlotGuard(self)
    }

    fn worker(&self) -> MutexGuard<'_, Option<RunningWorker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Kills the worker if it hangs. Returns whether it did.
    pub fn kill_if_silent(&self) -> bool {
        let mut life = self.worker();
        let Some(life) = life.as_mut().filter(|life| life.heard.elapsed() > SILENCE) else { return false };
        life.heard = Instant::now();
        life.process.kill().unwrap();
        true
    }
}

impl SlotGuard<'_> {
    /// The worker said something.
    pub fn hear(&self) {
        if let Some(life) = &mut *self.0.worker() {
            life.heard = Instant::now();
        }
    }

    pub fn kill(&self) {
        if let Some(life) = &mut *self.0.worker() {
            life.process.kill().unwrap();
        }
    }
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        let ended = self.0.worker().take();
        drop(ended);
    }
}
