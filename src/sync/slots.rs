//! A limited number of slots that long operations share in turns, so that a short operation does not wait for the end of
//! a long one.

use super::CancelToken;
use super::IgnorePoison;
use crate::error::Result;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long an operation keeps its slot while others wait for one.
const SLOT_TIME: Duration = Duration::from_millis(50);

/// How long a waiter sleeps between two checks of its cancel token.
const CANCEL_CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The slots of one kind of operation.
#[derive(Debug)]
pub struct Slots(Mutex<SlotState>);

#[derive(Debug)]
struct SlotState {
    free: usize,
    /// Operations that have not had a slot yet.
    new: VecDeque<Arc<SlotWaiter>>,
    /// Operations that released their slot for others.
    begun: VecDeque<Arc<SlotWaiter>>,
    /// Whether the next slot goes to a new operation, if operations of both sorts wait.
    prefers_new: bool,
}

/// An operation that waits for a slot.
#[derive(Debug, Default)]
struct SlotWaiter {
    /// Changed under the lock of the slots only.
    granted: Mutex<bool>,
    woken: Condvar,
}

impl Slots {
    /// Creates `limit` slots, at least one.
    pub fn new(limit: usize) -> Self {
        Slots(Mutex::new(SlotState {
            free: limit.max(1),
            new: VecDeque::new(),
            begun: VecDeque::new(),
            prefers_new: true,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.0.lock().ignore_poison()
    }

    /// Acquires a slot in the order of arrival; new operations and begun ones alternate.
    fn acquire(&self, is_new: bool, cancel: &CancelToken) -> Result<()> {
        cancel.check()?;
        let mut state = self.lock();
        if state.free > 0 {
            state.free -= 1;
            return Ok(());
        }
        let waiter = Arc::<SlotWaiter>::default();
        if is_new { &mut state.new } else { &mut state.begun }.push_back(waiter.clone());
        drop(state);
        loop {
            let granted = waiter.granted.lock().ignore_poison();
            let waited = waiter.woken.wait_timeout_while(granted, CANCEL_CHECK_INTERVAL, |granted| !*granted);
            if *waited.ignore_poison().0 {
                return Ok(());
            }
            if let Err(cancelled) = cancel.check() {
                self.withdraw(&waiter);
                return Err(cancelled);
            }
        }
    }

    /// Removes a waiter.
    ///
    /// TOCTOU: a slot that was granted at the same time goes to the next waiter.
    fn withdraw(&self, waiter: &Arc<SlotWaiter>) {
        let mut state = self.lock();
        let is_another = |other: &Arc<SlotWaiter>| !Arc::ptr_eq(other, waiter);
        state.new.retain(is_another);
        state.begun.retain(is_another);
        if *waiter.granted.lock().ignore_poison() {
            state.release();
        }
    }

    fn is_wanted(&self) -> bool {
        let state = self.lock();
        !state.new.is_empty() || !state.begun.is_empty()
    }
}

impl SlotState {
    /// Grants a slot to the next operation, or marks it free if no operation waits.
    fn release(&mut self) {
        let (first, second) = match self.prefers_new {
            true => (&mut self.new, &mut self.begun),
            false => (&mut self.begun, &mut self.new),
        };
        self.prefers_new = !self.prefers_new;
        match first.pop_front().or_else(|| second.pop_front()) {
            None => self.free += 1,
            Some(waiter) => {
                *waiter.granted.lock().ignore_poison() = true;
                waiter.woken.notify_one();
            }
        }
    }
}

/// The slot of one operation, which all of its threads share. The default never waits.
#[derive(Debug, Default)]
pub struct Slot {
    slots: Option<Arc<Slots>>,
    turn: Mutex<SlotTurn>,
}

#[derive(Debug, Default)]
struct SlotTurn {
    /// When the operation acquired the slot; `None` if it has none.
    since: Option<Instant>,
    /// Whether the operation had a slot before.
    is_begun: bool,
}

impl Slot {
    /// Returns a slot that the first call of [`go_on`](Slot::go_on) acquires.
    pub fn of(slots: &Arc<Slots>) -> Self {
        Slot { slots: Some(slots.clone()), turn: Mutex::default() }
    }

    /// Acquires the slot if the operation has none. Passes it to a waiting operation after 50 ms, and waits for it
    /// again.
    ///
    /// Call this between two steps of some milliseconds. Fails with `Aborted` if the operation was cancelled.
    pub fn go_on(&self, cancel: &CancelToken) -> Result<()> {
        cancel.check()?;
        let Some(slots) = &self.slots else { return Ok(()) };
        let mut turn = self.lock();
        match turn.since {
            Some(since) if since.elapsed() < SLOT_TIME => return Ok(()),
            Some(_) if !slots.is_wanted() => {
                turn.since = Some(Instant::now());
                return Ok(());
            }
            Some(_) => self.release(&mut turn),
            None => {}
        }
        // The operation's other threads wait for this one in their next call.
        slots.acquire(!turn.is_begun, cancel)?;
        *turn = SlotTurn { since: Some(Instant::now()), is_begun: true };
        Ok(())
    }

    /// Releases the slot until [`go_on`](Slot::go_on) is called again, because the operation waits for something else.
    pub fn leave(&self) {
        self.release(&mut self.lock());
    }

    fn release(&self, turn: &mut SlotTurn) {
        if let Some(slots) = &self.slots
            && turn.since.take().is_some()
        {
            slots.lock().release();
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotTurn> {
        self.turn.lock().ignore_poison()
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::thread;

    /// Waits until that many operations wait for a slot.
    fn until_waiting(slots: &Slots, count: usize) {
        loop {
            let state = slots.lock();
            if state.new.len() + state.begun.len() == count {
                return;
            }
            drop(state);
            thread::yield_now();
        }
    }

    #[test]
    fn no_more_operations_work_than_there_are_slots() {
        let (slots, cancel) = (Arc::new(Slots::new(2)), CancelToken::default());
        let held: Vec<_> = (0..2).map(|_| Slot::of(&slots)).collect();
        held.iter().for_each(|slot| slot.go_on(&cancel).unwrap());
        let (begun, begins) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let third = Slot::of(&slots);
                third.go_on(&cancel).unwrap();
                begun.send(()).unwrap();
            });
            until_waiting(&slots, 1);
            assert!(begins.try_recv().is_err());
            held[0].leave();
            begins.recv().unwrap();
        });
        assert_eq!(slots.lock().free, 1);
        drop(held);
        assert_eq!(slots.lock().free, 2);
    }

    #[test]
    fn a_begun_operation_lets_a_new_one_work_in_between() {
        let (slots, cancel) = (Arc::new(Slots::new(1)), CancelToken::default());
        let long = Slot::of(&slots);
        long.go_on(&cancel).unwrap();
        let (begun, begins) = mpsc::channel();
        thread::scope(|scope| {
            scope.spawn(|| {
                let short = Slot::of(&slots);
                short.go_on(&cancel).unwrap();
                begun.send(()).unwrap();
            });
            // It never calls `leave`.
            while begins.try_recv().is_err() {
                long.go_on(&cancel).unwrap();
                thread::yield_now();
            }
        });
        long.go_on(&cancel).unwrap();
    }

    #[test]
    fn a_cancelled_operation_waits_no_longer_and_keeps_no_slot() {
        let (slots, cancel) = (Arc::new(Slots::new(1)), CancelToken::default());
        let held = Slot::of(&slots);
        held.go_on(&cancel).unwrap();
        thread::scope(|scope| {
            let cancelled = CancelToken::default();
            let waiting = scope.spawn({
                let (slots, cancelled) = (slots.clone(), cancelled.clone());
                move || Slot::of(&slots).go_on(&cancelled)
            });
            until_waiting(&slots, 1);
            cancelled.cancel();
            assert!(waiting.join().unwrap().is_err());
        });
        drop(held);
        assert_eq!(slots.lock().free, 1);
    }
}
