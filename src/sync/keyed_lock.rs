//! Locks by key among the threads of this process, with a deadline.

use super::CancelToken;
use super::IgnorePoison;
use crate::error::Result;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a waiter sleeps between two checks of its cancel token.
const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// For each key the tickets of its threads, in the order of arrival. The first holds the key.
#[derive(Debug)]
struct KeyedQueues<K> {
    by_key: HashMap<K, VecDeque<u64>>,
    next_ticket: u64,
}

/// Grants each key to one thread at a time, in the order of arrival.
#[derive(Debug)]
pub struct KeyedLock<K> {
    queues: Mutex<KeyedQueues<K>>,
    released: Condvar,
}

impl<K: Clone + Eq + Hash> KeyedLock<K> {
    /// Acquires a key. Returns `None` if it is held.
    pub fn try_acquire(&self, key: &K) -> Option<KeyedGuard<'_, K>> {
        let mut queues = self.lock();
        let is_free = !queues.by_key.contains_key(key);
        is_free.then(|| {
            queues.join(key);
            KeyedGuard { owner: self, key: key.clone() }
        })
    }

    /// Acquires a key. Returns `None` if earlier threads still hold it at `deadline`, and fails if `cancel` is cancelled.
    pub fn acquire(
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
            let waited = self.released.wait_timeout(queues, left.min(CANCEL_CHECK_INTERVAL));
            queues = waited.ignore_poison().0;
        }
        Ok(Some(KeyedGuard { owner: self, key: key.clone() }))
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

    /// Leaves the queue without having held the key.
    fn leave(&mut self, key: &K, ticket: u64) {
        if let Some(queue) = self.by_key.get_mut(key) {
            queue.retain(|other| *other != ticket);
        }
    }

    /// Passes the key to the next thread.
    fn release(&mut self, key: &K) {
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
        KeyedLock { queues: Mutex::new(queues), released: Condvar::new() }
    }
}

/// Holds a key until it is dropped, also by a panic.
#[derive(Debug)]
pub struct KeyedGuard<'t, K: Clone + Eq + Hash> {
    owner: &'t KeyedLock<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Drop for KeyedGuard<'_, K> {
    fn drop(&mut self) {
        self.owner.lock().release(&self.key);
        self.owner.released.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Waits until that many threads hold or await the key.
    fn until_queued(locks: &KeyedLock<u8>, count: usize) {
        while locks.lock().by_key.get(&0).map_or(0, VecDeque::len) != count {
            thread::yield_now();
        }
    }

    #[test]
    fn a_thread_that_acquires_it_again_queues_behind_the_waiters() {
        let locks = KeyedLock::default();
        let (order, cancel) = (Mutex::new(Vec::new()), CancelToken::default());
        let acquire = |name| {
            let deadline = Instant::now() + Duration::from_secs(120);
            let guard = locks.acquire(&0_u8, deadline, &cancel).unwrap().unwrap();
            order.lock().unwrap().push(name);
            guard
        };
        thread::scope(|scope| {
            let held = acquire("first");
            scope.spawn(|| drop(acquire("second")));
            until_queued(&locks, 2);
            drop(held);
            drop(acquire("first again"));
        });
        assert_eq!(*order.lock().unwrap(), ["first", "second", "first again"]);
    }

    #[test]
    fn a_thread_that_gives_up_leaves_the_queue() {
        let locks = KeyedLock::default();
        let cancel = CancelToken::default();
        let held = locks.try_acquire(&0_u8).unwrap();
        assert!(locks.acquire(&0, Instant::now(), &cancel).unwrap().is_none());
        cancel.cancel();
        assert!(locks.acquire(&0, Instant::now() + Duration::from_secs(120), &cancel).is_err());
        assert!(locks.try_acquire(&0).is_none());
        drop(held);
        assert!(locks.try_acquire(&0).is_some());
    }
}
