//! Exclusive locks by key, whose waiters block no thread.

use super::IgnorePoison;
use super::cancel_token::CancelToken;
use crate::error::Result;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard};

type RelayWaiter<K> = (CancelToken, Box<dyn FnOnce(Result<Baton<K>>) + Send>);

/// Grants each key to one holder at a time. A waiter is a function. The holder before it calls it with the key; if it is
/// cancelled, it is called with an error.
pub struct Relay<K: Clone + Eq + Hash> {
    /// For each key that is held, its waiters in order.
    waiting: Arc<Mutex<HashMap<K, VecDeque<RelayWaiter<K>>>>>,
}

impl<K: Clone + Eq + Hash> Relay<K> {
    /// Acquires a key. Returns `None` if it is held.
    pub fn try_acquire(&self, key: &K) -> Option<Baton<K>> {
        let mut waiting = lock(&self.waiting);
        if waiting.contains_key(key) {
            return None;
        }
        waiting.insert(key.clone(), VecDeque::new());
        drop(waiting);
        Some(self.baton(key))
    }

    /// Calls `then` with the key: now if it is free, else on the thread that releases it. `then` must not block.
    ///
    /// Calls it with an error if `cancel` is cancelled before: see [`Relay::release_cancelled`].
    pub fn acquire(
        &self,
        key: &K,
        cancel: &CancelToken,
        then: impl FnOnce(Result<Baton<K>>) + Send + 'static,
    ) {
        let mut waiting = lock(&self.waiting);
        // TOCTOU: checked under the lock, so that `release_cancelled` finds a waiter that is cancelled from now on.
        if let Err(aborted) = cancel.check() {
            drop(waiting);
            return then(Err(aborted));
        }
        if let Some(queue) = waiting.get_mut(key) {
            queue.push_back((cancel.clone(), Box::new(then)));
            return;
        }
        waiting.insert(key.clone(), VecDeque::new());
        drop(waiting);
        then(Ok(self.baton(key)));
    }

    /// Calls the waiters that were cancelled, with an error.
    pub fn release_cancelled(&self) {
        let mut cancelled = Vec::new();
        for queue in lock(&self.waiting).values_mut() {
            for (cancel, then) in mem::take(queue) {
                match cancel.check() {
                    Ok(()) => queue.push_back((cancel, then)),
                    Err(aborted) => cancelled.push((aborted, then)),
                }
            }
        }
        for (aborted, then) in cancelled {
            then(Err(aborted));
        }
    }

    fn baton(&self, key: &K) -> Baton<K> {
        Baton { relay: Relay { waiting: self.waiting.clone() }, key: key.clone() }
    }
}

impl<K: Clone + Eq + Hash> Default for Relay<K> {
    fn default() -> Self {
        Relay { waiting: Arc::default() }
    }
}

impl<K: Clone + Eq + Hash> fmt::Debug for Relay<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().ignore_poison()
}

/// A key that is held until this is dropped.
#[derive(Debug)]
pub struct Baton<K: Clone + Eq + Hash> {
    relay: Relay<K>,
    key: K,
}

impl<K: Clone + Eq + Hash> Drop for Baton<K> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.relay.waiting);
        match waiting.get_mut(&self.key).and_then(VecDeque::pop_front) {
            Some((_, next)) => {
                drop(waiting);
                next(Ok(self.relay.baton(&self.key)));
            }
            None => drop(waiting.remove(&self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn waiters_get_a_key_one_after_the_other_and_other_keys_are_free() {
        let relay = Relay::default();
        let first = relay.try_acquire(&1).unwrap();
        let (send, received) = channel();
        for number in 0..3 {
            let send = send.clone();
            relay.acquire(&1, &CancelToken::default(), move |baton| {
                send.send((number, baton.unwrap())).unwrap()
            });
        }
        assert!(received.try_recv().is_err());
        assert!(relay.try_acquire(&1).is_none());
        assert!(relay.try_acquire(&2).is_some());
        drop(first);
        for expected in 0..3 {
            let (number, baton) = received.try_recv().unwrap();
            assert_eq!(number, expected);
            assert!(received.try_recv().is_err());
            drop(baton);
        }
        assert!(relay.try_acquire(&1).is_some());
        relay.acquire(&1, &CancelToken::default(), drop);
        assert!(relay.waiting.lock().unwrap().is_empty());
    }

    #[test]
    fn a_waiter_that_is_cancelled_goes_on_without_the_key_at_once_and_the_others_keep_their_turns() {
        let relay = Relay::default();
        let held = relay.try_acquire(&1).unwrap();
        let (send, received) = channel();
        let cancels = [(); 3].map(|()| CancelToken::default());
        for (number, cancel) in cancels.iter().enumerate() {
            let send = send.clone();
            relay.acquire(&1, cancel, move |baton| send.send((number, baton)).unwrap());
        }
        cancels[1].cancel();
        relay.release_cancelled();
        let (number, refused) = received.try_recv().unwrap();
        assert!(number == 1 && refused.is_err());
        let late = send.clone();
        relay.acquire(&1, &cancels[1], move |baton| late.send((3, baton)).unwrap());
        assert!(received.try_recv().unwrap().1.is_err());
        drop(held);
        for expected in [0, 2] {
            let (number, baton) = received.try_recv().unwrap();
            assert_eq!(number, expected);
            drop(baton.unwrap());
        }
        assert!(relay.waiting.lock().unwrap().is_empty());
    }
}
