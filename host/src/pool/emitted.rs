//! The values that a task emits while it runs, as its caller reads them.

use std::fmt;
use std::marker::PhantomData;
#[cfg(feature = "stream")]
use std::pin::Pin;
use std::sync::{Arc, Weak};
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::future::NotYet;
use crate::ids::TaskId;
use crate::runtime::cell::emitted::{EmitCell, EmittedValue, Next};
use crate::runtime::{Runtime, lead};

/// The default number of values that wait to be read.
const DEFAULT_CAPACITY: u32 = 64;

/// The number of emitted values that may wait to be read, and what happens when one more comes.
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
    /// A full buffer suspends the task until a value has been read. Zero counts as one.
    pub fn suspend(capacity: u32) -> Self {
        Self { capacity: capacity.max(1), drops: false }
    }

    /// A full buffer drops its oldest value, and counts it. Zero counts as one.
    pub fn drop_oldest(capacity: u32) -> Self {
        Self { capacity: capacity.max(1), drops: true }
    }

    pub(super) fn cell(self) -> EmitCell {
        EmitCell::new(self.capacity, self.drops)
    }
}

/// 64 values; then the task is suspended.
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
    /// The bytes are no value of the type that they claim to be.
    #[error("the task emitted a value that cannot be decoded: {message}")]
    Malformed {
        /// The decoder's error.
        message: String,
    },
}

/// The values that a task emits while it runs, in their order: an iterator that ends with the task.
///
/// Dropping it lets the task run on; what it emits after that is lost. Made by
/// [`Task::submit_emitting`](crate::Task::submit_emitting).
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let count = pool.task::<u32, u32>("count_up")?;
/// let (future, steps) = count.submit_emitting::<u32>(&3, wpool::EmitBuffer::default())?;
/// for step in steps {
///     println!("step {}", step?);
/// }
/// println!("{} in all", future.result()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Emitted<E> {
    task: TaskId,
    cell: Arc<EmitCell>,
    runtime: Weak<Runtime>,
    value: PhantomData<fn() -> E>,
}

impl<E> Emitted<E> {
    pub(super) fn new(task: TaskId, cell: Arc<EmitCell>, runtime: &Arc<Runtime>) -> Self {
        Self { task, cell, runtime: Arc::downgrade(runtime), value: PhantomData }
    }

    /// The number of values that were dropped because they were not read before the buffer was full.
    pub fn dropped(&self) -> u64 {
        self.cell.dropped()
    }

    /// Waits for the next value or the end; `None` if neither has come by the deadline.
    fn wait(&self, deadline: Option<Instant>) -> Option<Next> {
        if !self.cell.is_ready()
            && deadline.is_none_or(|at| at > Instant::now())
            && let Some(runtime) = self.runtime.upgrade()
        {
            lead(&runtime, || self.cell.is_ready(), deadline);
            runtime.call_driver();
        }
        self.cell.wait(deadline)
    }

    /// Tells the task the total that it may have emitted by now.
    fn grant(&self, total: Option<u64>) {
        if let (Some(total), Some(runtime)) = (total, self.runtime.upgrade()) {
            runtime.grant_emits(self.task, total);
        }
    }
}

impl<E: DeserializeOwned + Schema> Emitted<E> {
    /// Waits at most `timeout` for the next value; `None` if the task has ended. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if no value has come by then.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<E, EmitError>>, NotYet> {
        let next = self.wait(Instant::now().checked_add(timeout)).ok_or(NotYet(timeout))?;
        Ok(self.item(next))
    }

    fn item(&self, next: Next) -> Option<Result<E, EmitError>> {
        match next {
            Next::Value(value, grant) => {
                self.grant(grant);
                Some(decode(&value))
            }
            Next::End => None,
        }
    }
}

fn decode<E: DeserializeOwned + Schema>(value: &EmittedValue) -> Result<E, EmitError> {
    if value.fingerprint != wpool_schema::fingerprint::<E>() {
        return Err(EmitError::WrongType);
    }
    wpool_schema::check_bounds::<E>(&value.bytes)
        .map_err(|excess| EmitError::Malformed { message: excess.to_string() })?;
    match postcard::take_from_bytes(&value.bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(EmitError::Malformed { message: format!("{} bytes are left over", rest.len()) }),
        Err(error) => Err(EmitError::Malformed { message: error.to_string() }),
    }
}

impl<E: DeserializeOwned + Schema> Iterator for Emitted<E> {
    type Item = Result<E, EmitError>;

    /// Waits for the next value; `None` if the task has ended.
    fn next(&mut self) -> Option<Self::Item> {
        self.wait(None).and_then(|next| self.item(next))
    }
}

#[cfg(feature = "stream")]
impl<E: DeserializeOwned + Schema> futures_core::Stream for Emitted<E> {
    type Item = Result<E, EmitError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(next) = self.cell.poll(context.waker()) {
            return Poll::Ready(self.item(next));
        }
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.call_driver();
        }
        Poll::Pending
    }
}

impl<E> Drop for Emitted<E> {
    fn drop(&mut self) {
        self.grant(self.cell.close().then_some(u64::MAX));
    }
}

impl<E> fmt::Debug for Emitted<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitted").field("task", &self.task).finish_non_exhaustive()
    }
}
