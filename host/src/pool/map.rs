//! [`Map`]: the typed results of a map, and [`Canceller`], which ends one.

use std::fmt;
use std::marker::PhantomData;
#[cfg(feature = "stream")]
use std::pin::Pin;
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::canceller::Canceller;
use super::future::NotYet;
use super::raw_map::RawMap;
use crate::error::TaskError;

/// The results of a map: one for each input, with the value or the error of its task.
///
/// Made by [`Task::map`](crate::Task::map) and [`Task::imap_unordered`](crate::Task::imap_unordered).
/// Dropping it cancels what has not begun.
pub struct Map<I: Iterator, R> {
    raw: RawMap<I>,
    value: PhantomData<fn() -> R>,
}

impl<I: Iterator, R> Map<I, R> {
    pub(super) fn new(raw: RawMap<I>) -> Self {
        Self { raw, value: PhantomData }
    }

    /// Ends the map: what has not begun is cancelled, and the next result is none.
    pub fn close(&mut self) {
        self.raw.close();
    }

    /// What ends this map early, from any thread.
    pub fn canceller(&self) -> Canceller {
        self.raw.canceller()
    }

    /// Has the first error end the map: no more inputs are pulled, and what has not begun is cancelled. Without it
    /// a map goes on, and an error is its item's alone.
    #[must_use]
    pub fn stop_on_error(self) -> Self {
        Self { raw: self.raw.stop_on_error(), value: PhantomData }
    }
}

impl<I: Iterator, R: DeserializeOwned> Iterator for Map<I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, completed) = self.raw.next()?;
        Some(self.raw.decode(&completed))
    }
}

impl<I: Iterator, R: DeserializeOwned> Map<I, R> {
    /// The next result, if it comes before the time is over; it is not lost if it comes later. None when there are
    /// no more.
    ///
    /// # Errors
    /// [`NotYet`] if it has not come by then.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, NotYet> {
        let next = self.raw.next_timeout(timeout)?;
        Ok(next.map(|(_, completed)| self.raw.decode(&completed)))
    }
}

#[cfg(feature = "stream")]
impl<I: Iterator + Unpin, R: DeserializeOwned> futures_core::Stream for Map<I, R> {
    type Item = Result<R, TaskError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = Pin::new(&mut self.raw).poll_next(context);
        next.map(|next| next.map(|(_, completed)| self.raw.decode(&completed)))
    }
}

impl<I: Iterator, R> fmt::Debug for Map<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}
