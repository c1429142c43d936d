//! Turns among the threads of this process, with a bound on the wait.

use super::CancelToken;
use super::IgnorePoison;
use crate::error::Result;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long somebody waits between two looks at whether he was cancelled.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// By key the tickets of the threads that want a thing, in the order in which they came. The first has it.
#[derive(Debug)]
struct KeyedQueues<K> {
    by_key: HashMap<K, VecDeque<u64>>,
    next_ticket: u64,
}

/// Things that one thread at a time may have, each told by its key. Threads get one in the order in which they came.
#[derive(Debug)]
pub struct KeyedLock<K> {
    queues: Mutex<KeyedQueues<K>>,
    was_given_back: Condvar,
}

impl<K: Clone + Eq + Hash> KeyedLock<K> {
    /// Takes one unless another has it.
    pub fn try_take(&self, key: &K) -> Option<KeyedGuard<'_, K>> {
        let mut queues = self.lock();
        let is_free = !queues.by_key.contains_key(key);
        is_free.then(|| {
            queues.join(key);
            KeyedGuard { among: self, key: key.clone() }
        })
    }

    /// Takes one, and waits for the threads that came before; returns `None` if they still have it at the deadline.
    pub fn take(
        &self,
        key: &K,
        deadline: Instant,
        cancel: &CancelToken,
    ) -> Result<Option<KeyedGuard<'_, K>>> {
        let mut queues = self.lock();
        let ticket = queues.join(key);
        while !queues.is_first(key, ticket) {
            let left = deadline.saturating_duration_since(Instant::now());
            let cancelled = cancel.check();
            if cancelled.is_err() || left.is_zero() {
                queues.leave(key, ticket);
                return cancelled.map(|()| None);
            }
            let waited = self.was_given_back.wait_timeout(queues, left.min(LOOK_AGAIN));
            queues = waited.ignore_poison().0;
        }
        Ok(Some(KeyedGuard { among: self, key: key.clone() }))
    }

    fn lock(&self) -> MutexGuard<'_, KeyedQueues<K>> {
        self.queues.lock().ignore_poison()
    }
}

impl<K: Clone + Eq + Hash> KeyedQueues<K> {
    fn join(&mut self, key: &K) -> u64 {
        self.next_ticket += 1;
        self.by_key.entry(key.clone()).or_default().push_back(self.next_ticket);
        self.next_ticket
    }

    fn is_first(&self, key: &K, ticket: u64) -> bool {
        self.by_key.get(key).is_none_or(|queue| queue.front() == Some(&ticket))
    }

    /// Leaves the queue without having had the thing.
    fn leave(&mut self, key: &K, ticket: u64) {
        if let Some(queue) = self.by_key.get_mut(key) {
            queue.retain(|other| *other != ticket);
        }
    }

    /// Gives the thing to the next thread.
    fn give_back(&mut self, key: &K) {
        if let Some(queue) = self.by_key.get_mut(key) {
            queue.pop_front();
            if queue.is_empty() {
                self.by_key.remove(key);
            }
        }
    }
}

impl<K> Default for KeyedLock<K> {
    fn default() -> Self {
        let queues = KeyedQueues { by_key: HashMap::new(), next_ticket: 0 };
        KeyedLock { queues: Mutex::new(queues), was_given_back: Condvar::new() }
    }
}

/// What its holder has until it is dropped, a panic included.
#[derive(Debug)]
pub struct KeyedGuard<'t, K: Clone + Eq + Hash> {
    among: &'t KeyedLock<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Drop for KeyedGuard<'_, K> {
    fn drop(&mut self) {
        self.among.lock().give_back(&self.key);
        self.among.was_given_back.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Waits until that many threads have or want the thing.
    fn until_queued(things: &KeyedLock<u8>, count: usize) {
        while things.lock().by_key.get(&0).map_or(0, VecDeque::len) != count {
            thread::yield_now();
        }
    }

    #[test]
    fn a_thread_that_takes_it_again_comes_behind_those_that_wait() {
        let things = KeyedLock::default();
        let (order, cancel) = (Mutex::new(Vec::new()), CancelToken::default());
        let take = |name| {
            let deadline = Instant::now() + Duration::from_secs(120);
            let taken = things.take(&0_u8, deadline, &cancel).unwrap().unwrap();
            order.lock().unwrap().push(name);
            taken
        };
        thread::scope(|scope| {
            let held = take("first");
            scope.spawn(|| drop(take("second")));
            until_queued(&things, 2);
            drop(held);
            drop(take("first again"));
        });
        assert_eq!(*order.lock().unwrap(), ["first", "second", "first again"]);
    }

    #[test]
    fn a_thread_that_gives_up_leaves_the_queue() {
        let things = KeyedLock::default();
        let cancel = CancelToken::default();
        let held = things.try_take(&0_u8).unwrap();
        assert!(things.take(&0, Instant::now(), &cancel).unwrap().is_none());
        cancel.cancel();
        assert!(things.take(&0, Instant::now() + Duration::from_secs(120), &cancel).is_err());
        assert!(things.try_take(&0).is_none());
        drop(held);
        assert!(things.try_take(&0).is_some());
    }
}
