//! [`Map`]: the typed results of a map.

use std::fmt;
use std::marker::PhantomData;
#[cfg(feature = "stream")]
use std::pin::Pin;
#[cfg(feature = "stream")]
use std::task::{Context, Poll};
use std::time::Duration;

use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::canceller::Canceller;
use super::future::NotYet;
use super::raw_map::RawMap;
use crate::error::{MapEnd, TaskError};

/// The results of a map: for each input the value or the error of its task.
///
/// Made by [`Task::map`](crate::Task::map) and [`Task::imap_unordered`](crate::Task::imap_unordered). Dropping it
/// cancels the tasks that have not started.
pub struct Map<I: Iterator, R> {
    raw: RawMap<I>,
    value: PhantomData<fn() -> R>,
}

impl<I: Iterator, R> Map<I, R> {
    pub(super) fn new(raw: RawMap<I>) -> Self {
        Self { raw, value: PhantomData }
    }

    /// Ends the map: tasks that have not started are cancelled, and the next result is `None`.
    pub fn close(&mut self) {
        self.raw.close();
    }

    /// Why the map has ended; `None` while it has not given its last result. Where it ended before its input was at its end,
    /// the last result has said so, but after [`close`](Self::close) and for an error that
    /// [stopped](Self::stop_on_error) it.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// # let pool = wpool::Pool::builder(wpool::Guest::from_file("guest.wasm")?).build()?;
    /// let square = pool.task::<i64, i64>("square")?.map_timeout(Duration::from_secs(1));
    /// let mut squares = square.map(0..);
    /// let count = squares.by_ref().filter(Result::is_ok).count();
    /// println!("{count} squares in a second");
    /// assert_eq!(squares.ended(), Some(wpool::MapEnd::Timeout(Duration::from_secs(1))));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn ended(&self) -> Option<MapEnd> {
        self.raw.ended()
    }

    /// Returns a canceller, which ends this map early from any thread.
    pub fn canceller(&self) -> Canceller {
        self.raw.canceller()
    }

    /// Ends the map at the first error: no more inputs are pulled, and tasks that have not started are cancelled. By
    /// default a map continues after an error.
    #[must_use]
    pub fn stop_on_error(self) -> Self {
        Self { raw: self.raw.stop_on_error(), value: PhantomData }
    }
}

impl<I: Iterator, R: DeserializeOwned + Schema> Iterator for Map<I, R> {
    type Item = Result<R, TaskError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (_, completed) = self.raw.next()?;
        Some(self.raw.decode(&completed))
    }
}

impl<I: Iterator, R: DeserializeOwned + Schema> Map<I, R> {
    /// Waits at most for `timeout` for the next result; `None` at the end of the map. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if no result has come by then. A later call returns it.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Result<R, TaskError>>, NotYet> {
        let next = self.raw.next_timeout(timeout)?;
        Ok(next.map(|(_, completed)| self.raw.decode(&completed)))
    }
}

#[cfg(feature = "stream")]
impl<I: Iterator + Unpin, R: DeserializeOwned + Schema> futures_core::Stream for Map<I, R> {
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
