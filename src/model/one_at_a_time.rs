//! Turns among the threads of this process, with a bound on the wait.

use super::Cancel;
use crate::error::Result;
use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long somebody waits between two looks at whether he was cancelled.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Things that one thread at a time may have, each told by its key.
#[derive(Debug)]
pub struct OneAtATime<K> {
    taken: Mutex<HashSet<K>>,
    was_given_back: Condvar,
}

impl<K: Clone + Eq + Hash> OneAtATime<K> {
    /// Takes one unless another has it.
    pub fn try_take(&self, key: &K) -> Option<Taken<'_, K>> {
        let is_free = self.lock().insert(key.clone());
        is_free.then(|| Taken { among: self, key: key.clone() })
    }

    /// Takes one, and waits for whoever has it; none where he still has it at the deadline.
    pub fn take(&self, key: &K, deadline: Instant, cancel: &Cancel) -> Result<Option<Taken<'_, K>>> {
        let mut taken = self.lock();
        while !taken.insert(key.clone()) {
            cancel.check()?;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.was_given_back.wait_timeout(taken, left.min(LOOK_AGAIN));
            taken = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(Some(Taken { among: self, key: key.clone() }))
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<K>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K> Default for OneAtATime<K> {
    fn default() -> Self {
        OneAtATime { taken: Mutex::default(), was_given_back: Condvar::new() }
    }
}

/// What its holder has until it is dropped, a panic included.
#[derive(Debug)]
pub struct Taken<'t, K: Clone + Eq + Hash> {
    among: &'t OneAtATime<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Drop for Taken<'_, K> {
    fn drop(&mut self) {
        self.among.lock().remove(&self.key);
        self.among.was_given_back.notify_all();
    }
}
