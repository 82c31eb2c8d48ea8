//! The values that a task emits while it runs, on their way to who reads them.

use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
#[cfg(feature = "stream")]
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::Waker;
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::core::Shared;
use super::future::NotYet;
use crate::ids::TaskId;

/// How many values a task has ahead of its reader by default.
const DEFAULT_CAPACITY: u32 = 64;

/// How many values that a task has emitted may wait to be read, and what happens when one more comes.
///
/// ```
/// use wpool::EmitBuffer;
/// let newest = EmitBuffer::drop_oldest(1);
/// assert_ne!(newest, EmitBuffer::default());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EmitBuffer {
    capacity: u32,
    drops: bool,
}

impl EmitBuffer {
    /// The task waits until a value has been read. Zero counts as one.
    pub fn suspend(capacity: u32) -> Self {
        Self { capacity: capacity.max(1), drops: false }
    }

    /// The oldest value is dropped, and counted. Zero counts as one.
    pub fn drop_oldest(capacity: u32) -> Self {
        Self { capacity: capacity.max(1), drops: true }
    }

    /// How many values a task may emit before the first is read.
    fn window(self) -> u64 {
        if self.drops { u64::MAX } else { u64::from(self.capacity) }
    }
}

/// 64 values, and then the task waits.
impl Default for EmitBuffer {
    fn default() -> Self {
        Self::suspend(DEFAULT_CAPACITY)
    }
}

/// Why an emitted value cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The task emits values of another type.
    #[error("the task emitted a value of another type")]
    WrongType,
    /// The bytes are none of the type that they claim to be.
    #[error("the task emitted a value that cannot be decoded: {message}")]
    Malformed {
        /// What is wrong with it.
        message: String,
    },
}

/// A value, and which type it claims to have.
#[derive(Debug)]
struct Value {
    of: u64,
    bytes: Vec<u8>,
}

/// What the pool and the reader share.
pub(super) struct EmitState {
    inner: Mutex<Inner>,
    news: Condvar,
}

struct Inner {
    buffer: EmitBuffer,
    values: VecDeque<Value>,
    /// Values that came, that may come, and that were taken.
    received: u64,
    granted: u64,
    taken: u64,
    dropped: u64,
    /// No more will come.
    ended: bool,
    /// Nobody reads any more.
    closed: bool,
    waker: Option<Waker>,
}

/// The task has emitted more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flood;

impl EmitState {
    pub(super) fn new(buffer: EmitBuffer) -> Arc<Self> {
        let inner = Inner {
            buffer,
            values: VecDeque::new(),
            received: 0,
            granted: buffer.window(),
            taken: 0,
            dropped: 0,
            ended: false,
            closed: false,
            waker: None,
        };
        Arc::new(Self { inner: Mutex::new(inner), news: Condvar::new() })
    }

    /// How many values the task may emit before the first is read.
    pub(super) fn window(&self) -> u64 {
        self.lock().buffer.window()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more value. Whoever is returned is to be woken.
    pub(super) fn push(&self, of: u64, bytes: &[u8]) -> Result<Option<Waker>, Flood> {
        let mut inner = self.lock();
        inner.received += 1;
        if inner.received > inner.granted {
            return Err(Flood);
        }
        if inner.closed {
            return Ok(None);
        }
        if inner.values.len() >= inner.buffer.capacity as usize {
            inner.values.pop_front();
            inner.dropped += 1;
        }
        inner.values.push_back(Value { of, bytes: bytes.to_vec() });
        self.news.notify_all();
        Ok(inner.waker.take())
    }

    /// The task has ended. Whoever is returned is to be woken.
    pub(super) fn end(&self) -> Option<Waker> {
        let mut inner = self.lock();
        inner.ended = true;
        self.news.notify_all();
        inner.waker.take()
    }

    /// Whether a reader need not wait.
    fn has_news(&self) -> bool {
        self.lock().has_news()
    }
}

impl Inner {
    fn has_news(&self) -> bool {
        self.ended || !self.values.is_empty()
    }

    /// The next value, and how many the task may have emitted by now in all, if it is to be told.
    fn take(&mut self) -> Option<(Value, Option<u64>)> {
        let value = self.values.pop_front()?;
        self.taken += 1;
        let capacity = u64::from(self.buffer.capacity);
        let grant = self.taken + capacity;
        // Half of the room at a time, so that not every value costs a message.
        let worth = !self.buffer.drops && !self.ended && grant - self.granted >= capacity.div_ceil(2);
        if worth {
            self.granted = grant;
        }
        Some((value, worth.then_some(grant)))
    }
}

/// The values that a task emits while it runs, in their order: an iterator that ends with the task. Dropping it lets
/// the task go on, and whatever it emits then is lost.
///
/// Made by [`Task::submit_emitting`](crate::Task::submit_emitting).
pub struct Emitted<E> {
    task: TaskId,
    state: Arc<EmitState>,
    shared: Weak<Shared>,
    value: PhantomData<fn() -> E>,
}

impl<E> Emitted<E> {
    pub(super) fn new(task: TaskId, state: Arc<EmitState>, shared: &Arc<Shared>) -> Self {
        Self { task, state, shared: Arc::downgrade(shared), value: PhantomData }
    }

    /// How many values were dropped because nobody had read them when others came.
    pub fn dropped(&self) -> u64 {
        self.state.lock().dropped
    }

    /// Waits for a value or for the end, at most until the deadline. The value's bytes in postcard, and the
    /// fingerprint of their type; none if the task has ended.
    fn next_value(&self, deadline: Option<Instant>) -> Result<Option<Value>, Late> {
        if !self.state.has_news()
            && deadline.is_none_or(|at| at > Instant::now())
            && let Some(shared) = self.shared.upgrade()
        {
            shared.lead(|| self.state.has_news(), deadline);
            shared.lead.call_driver();
        }
        let mut inner = self.state.lock();
        loop {
            if let Some((value, grant)) = inner.take() {
                drop(inner);
                self.grant(grant);
                return Ok(Some(value));
            }
            if inner.ended {
                return Ok(None);
            }
            inner = match deadline {
                None => self.state.news.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero());
                    let waited = self.state.news.wait_timeout(inner, left.ok_or(Late)?);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Tells the task how many values it may have emitted by now.
    fn grant(&self, emits: Option<u64>) {
        if let (Some(emits), Some(shared)) = (emits, self.shared.upgrade()) {
            shared.grant(self.task, emits);
        }
    }
}

/// Nothing came in time.
struct Late;

impl<E: DeserializeOwned + Schema> Emitted<E> {
    /// Waits for the next value, at most `timeout` from now; none if the task has ended. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if none has come by then.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<E, EmitError>>, NotYet> {
        let value = self.next_value(Instant::now().checked_add(timeout)).map_err(|Late| NotYet(timeout))?;
        Ok(value.map(|value| decode(&value)))
    }
}

fn decode<E: DeserializeOwned + Schema>(value: &Value) -> Result<E, EmitError> {
    if value.of != wpool_schema::fingerprint::<E>() {
        return Err(EmitError::WrongType);
    }
    match postcard::take_from_bytes(&value.bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(EmitError::Malformed { message: format!("{} bytes are left over", rest.len()) }),
        Err(error) => Err(EmitError::Malformed { message: error.to_string() }),
    }
}

impl<E: DeserializeOwned + Schema> Iterator for Emitted<E> {
    type Item = Result<E, EmitError>;

    /// Waits for the next value; none if the task has ended.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_value(None).ok().flatten().map(|value| decode(&value))
    }
}

#[cfg(feature = "stream")]
impl<E: DeserializeOwned + Schema> futures_core::Stream for Emitted<E> {
    type Item = Result<E, EmitError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut inner = self.state.lock();
        if let Some((value, grant)) = inner.take() {
            drop(inner);
            self.grant(grant);
            return Poll::Ready(Some(decode(&value)));
        }
        if inner.ended {
            return Poll::Ready(None);
        }
        inner.waker = Some(context.waker().clone());
        drop(inner);
        if let Some(shared) = self.shared.upgrade() {
            shared.lead.call_driver();
        }
        Poll::Pending
    }
}

impl<E> Drop for Emitted<E> {
    fn drop(&mut self) {
        let mut inner = self.state.lock();
        inner.closed = true;
        inner.values.clear();
        let waits = !inner.ended && inner.granted != u64::MAX;
        inner.granted = u64::MAX;
        drop(inner);
        self.grant(waits.then_some(u64::MAX));
    }
}

impl<E> fmt::Debug for Emitted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitted").field("task", &self.task).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(state: &EmitState) -> Vec<u64> {
        state.lock().values.iter().map(|value| value.of).collect()
    }

    #[test]
    fn a_full_buffer_drops_the_oldest_and_counts_it() {
        let state = EmitState::new(EmitBuffer::drop_oldest(2));
        (0..5).for_each(|n| assert!(state.push(n, b"").is_ok()));
        assert_eq!((numbers(&state), state.lock().dropped), (vec![3, 4], 3));
    }

    #[test]
    fn a_task_may_not_emit_more_than_it_was_granted() {
        let state = EmitState::new(EmitBuffer::suspend(2));
        (0..2).for_each(|n| assert!(state.push(n, b"").is_ok()));
        let grants: Vec<_> = (0..2).filter_map(|_| state.lock().take()).map(|(_, grant)| grant).collect();
        assert_eq!(grants, [Some(3), Some(4)], "for one of two places each is worth a message");
        (0..2).for_each(|n| assert!(state.push(n, b"").is_ok()));
        assert_eq!(state.push(9, b"").err(), Some(Flood));
    }

    #[test]
    fn half_of_a_large_buffer_is_granted_at_a_time() {
        let state = EmitState::new(EmitBuffer::suspend(10));
        (0..10).for_each(|n| assert!(state.push(n, b"").is_ok()));
        let grants: Vec<_> = (0..10).filter_map(|_| state.lock().take()).map(|(_, grant)| grant).collect();
        assert_eq!(grants.iter().flatten().collect::<Vec<_>>(), [&15, &20]);
    }
}
