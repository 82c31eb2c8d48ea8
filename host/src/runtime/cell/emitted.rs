//! The cell of the values that one task emits: those that have arrived and were not read yet.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::Instant;

use crate::lock::{Condvar, Mutex, wait_until};

/// A value in postcard, and the fingerprint of the type that it claims to have.
#[derive(Debug)]
pub(crate) struct EmittedValue {
    pub(crate) fingerprint: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The next thing that the reader of a cell gets.
#[derive(Debug)]
pub(crate) enum Next {
    /// A value; with it the total that the task may have emitted by now, if the task is to be told.
    Value(EmittedValue, Option<u64>),
    /// The task has ended.
    End,
}

/// The task has emitted more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CreditExceeded;

/// The state that the pool and the reader share.
pub(crate) struct EmitCell {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    /// The number of values that may wait.
    capacity: u32,
    /// Whether the oldest value makes room for a new one; else the task waits.
    drops: bool,
    values: VecDeque<EmittedValue>,
    /// Values that have arrived, that the task may have emitted by now, and that were read; each in total.
    received: u64,
    granted: u64,
    taken: u64,
    dropped: u64,
    /// The task has ended.
    ended: bool,
    /// The reader is gone.
    closed: bool,
    waker: Option<Waker>,
}

/// The number of values that a task may emit before the first is read.
fn window(capacity: u32, drops: bool) -> u64 {
    if drops { u64::MAX } else { u64::from(capacity) }
}

impl EmitCell {
    pub(crate) fn new(capacity: u32, drops: bool) -> Self {
        let inner = Inner {
            capacity,
            drops,
            values: VecDeque::new(),
            received: 0,
            granted: window(capacity, drops),
            taken: 0,
            dropped: 0,
            ended: false,
            closed: false,
            waker: None,
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    /// The number of values that the task may emit before the first is read.
    pub(crate) fn window(&self) -> u64 {
        let inner = self.inner.lock();
        window(inner.capacity, inner.drops)
    }

    /// The number of values that were dropped to make room.
    pub(crate) fn dropped(&self) -> u64 {
        self.inner.lock().dropped
    }

    /// Adds a value. Returns the waker of the reader, for the caller to wake.
    pub(crate) fn push(&self, fingerprint: u64, bytes: &[u8]) -> Result<Option<Waker>, CreditExceeded> {
        let mut inner = self.inner.lock();
        inner.received += 1;
        if inner.received > inner.granted {
            return Err(CreditExceeded);
        }
        if inner.closed {
            return Ok(None);
        }
        if inner.values.len() >= inner.capacity as usize {
            inner.values.pop_front();
            inner.dropped += 1;
        }
        inner.values.push_back(EmittedValue { fingerprint, bytes: bytes.to_vec() });
        self.changed.notify_all();
        Ok(inner.waker.take())
    }

    /// The task has ended. Returns the waker of the reader, for the caller to wake.
    pub(crate) fn end(&self) -> Option<Waker> {
        let mut inner = self.inner.lock();
        inner.ended = true;
        self.changed.notify_all();
        inner.waker.take()
    }

    /// Whether the task may emit no more before a value is read.
    pub(crate) fn is_full(&self) -> bool {
        let inner = self.inner.lock();
        inner.received >= inner.granted
    }

    /// Whether a reader need not wait.
    pub(crate) fn is_ready(&self) -> bool {
        let inner = self.inner.lock();
        inner.ended || !inner.values.is_empty()
    }

    /// Waits for the next value or the end; `None` if neither has come by the deadline.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Option<Next> {
        wait_until(&self.changed, &mut self.inner.lock(), deadline, Inner::next)
    }

    /// The next value or the end; if neither has come, `waker` is woken when one does.
    #[cfg_attr(not(feature = "stream"), expect(dead_code, reason = "only a stream waits like this"))]
    pub(crate) fn poll(&self, waker: &Waker) -> Option<Next> {
        // Declared before the guard, and so dropped after it: a waker's clone and drop run code of its executor.
        let mut waker = Some(waker.clone());
        let mut inner = self.inner.lock();
        let next = inner.next();
        if next.is_none() {
            std::mem::swap(&mut inner.waker, &mut waker);
        }
        next
    }

    /// The reader is gone. Returns whether the task has to be told that it may emit without end.
    pub(crate) fn close(&self) -> bool {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.values.clear();
        let told = !inner.ended && inner.granted != u64::MAX;
        inner.granted = u64::MAX;
        told
    }
}

impl Inner {
    fn next(&mut self) -> Option<Next> {
        let Some(value) = self.values.pop_front() else { return self.ended.then_some(Next::End) };
        self.taken += 1;
        let capacity = u64::from(self.capacity);
        let grant = self.taken + capacity;
        // Half of the room at a time, so that not every value costs a message.
        let told = !self.drops && !self.ended && grant - self.granted >= capacity.div_ceil(2);
        if told {
            self.granted = grant;
        }
        Some(Next::Value(value, told.then_some(grant)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprints(cell: &EmitCell) -> Vec<u64> {
        cell.inner.lock().values.iter().map(|value| value.fingerprint).collect()
    }

    /// Takes `count` values, and returns what the task is told with each.
    fn grants(cell: &EmitCell, count: usize) -> Vec<Option<u64>> {
        let grant = |next| match next {
            Next::Value(_, grant) => grant,
            Next::End => panic!("the task has not ended"),
        };
        (0..count).filter_map(|_| cell.wait(Some(Instant::now()))).map(grant).collect()
    }

    #[test]
    fn a_full_buffer_drops_the_oldest_and_counts_it() {
        let cell = EmitCell::new(2, true);
        (0..5).for_each(|n| assert!(cell.push(n, b"").is_ok()));
        assert_eq!((fingerprints(&cell), cell.dropped()), (vec![3, 4], 3));
    }

    #[test]
    fn a_task_may_not_emit_more_than_it_was_granted() {
        let cell = EmitCell::new(2, false);
        (0..2).for_each(|n| assert!(cell.push(n, b"").is_ok()));
        assert_eq!(grants(&cell, 2), [Some(3), Some(4)], "of a room for two each value is worth a message");
        (0..2).for_each(|n| assert!(cell.push(n, b"").is_ok()));
        assert_eq!(cell.push(9, b"").err(), Some(CreditExceeded));
    }

    #[test]
    fn half_of_a_large_buffer_is_granted_at_a_time() {
        let cell = EmitCell::new(10, false);
        (0..10).for_each(|n| assert!(cell.push(n, b"").is_ok()));
        assert_eq!(grants(&cell, 10).iter().flatten().collect::<Vec<_>>(), [&15, &20]);
    }

    #[test]
    fn the_end_comes_after_the_last_value_and_again_and_again() {
        let cell = EmitCell::new(4, false);
        cell.push(1, b"a").unwrap();
        assert!(cell.end().is_none(), "no reader waits");
        assert!(matches!(cell.wait(None), Some(Next::Value(..))));
        assert!((0..2).all(|_| matches!(cell.wait(None), Some(Next::End))));
    }

    #[test]
    fn a_reader_that_is_gone_lets_the_task_emit_without_end() {
        let cell = EmitCell::new(1, false);
        assert!(cell.close() && !cell.close(), "the task is told once");
        (0..9).for_each(|n| assert!(cell.push(n, b"").is_ok()));
        assert!(fingerprints(&cell).is_empty());
    }
}
