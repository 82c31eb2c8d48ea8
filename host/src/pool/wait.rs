//! Waiting for several futures at once, of one pool or of several.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use super::future::{Status, TaskFuture};

/// The condition under which [`wait`] returns.
///
/// ```
/// assert_eq!(wpool::ReturnWhen::default(), wpool::ReturnWhen::AllCompleted);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// One of the futures has ended.
    FirstCompleted,
    /// One of the futures has ended with an error, or all have ended. A cancelled task does not count as an error.
    FirstException,
    /// All futures have ended.
    #[default]
    AllCompleted,
}

/// The result of [`wait`]: the futures, in the order in which they were given.
#[derive(Debug)]
pub struct Waited<R> {
    /// The futures whose tasks have ended or were cancelled.
    pub done: Vec<TaskFuture<R>>,
    /// The futures whose tasks have not ended.
    pub not_done: Vec<TaskFuture<R>>,
}

/// Waits for several futures, of one pool or of several, until `return_when` is met, at most for `timeout`. `None` is
/// no limit; zero looks without waiting. Two futures of the same task count as one.
///
/// ```no_run
/// use wpool::{ReturnWhen, wait};
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let square = pool.task::<i64, i64>("square")?;
/// let futures = (0..10).map(|n| square.submit(&n)).collect::<Result<Vec<_>, _>>()?;
/// let waited = wait(futures, ReturnWhen::FirstCompleted, None);
/// assert!(!waited.done.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn wait<R>(
    futures: impl IntoIterator<Item = TaskFuture<R>>,
    return_when: ReturnWhen,
    timeout: impl Into<Option<Duration>>,
) -> Waited<R> {
    let deadline = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
    let watched = Watched::new(futures);
    let mut remaining = watched.futures.len();
    while remaining > 0 {
        let Some(index) = watched.next(deadline) else { break };
        remaining -= 1;
        let enough = match return_when {
            ReturnWhen::FirstCompleted => true,
            ReturnWhen::FirstException => watched.has_failed(index),
            ReturnWhen::AllCompleted => false,
        };
        if enough {
            break;
        }
    }
    let (done, not_done) = watched.futures.iter().flatten().cloned().partition(TaskFuture::done);
    Waited { done, not_done }
}

/// Returns an iterator over several futures, of one pool or of several, in the order in which they end; those that have
/// ended already come first. `timeout` counts from this call; when it is over the iterator yields one [`Unfinished`]
/// and ends. `None` is no limit; zero looks without waiting. Two futures of the same task count as one.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let square = pool.task::<i64, i64>("square")?;
/// let futures = (0..10).map(|n| square.submit(&n)).collect::<Result<Vec<_>, _>>()?;
/// for future in wpool::as_completed(futures, None) {
///     println!("{}", future?.result()?);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn as_completed<R>(
    futures: impl IntoIterator<Item = TaskFuture<R>>,
    timeout: impl Into<Option<Duration>>,
) -> AsCompleted<R> {
    let timeout = timeout.into();
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let watched = Watched::new(futures);
    let total = watched.futures.len();
    AsCompleted { watched, timeout: timeout.unwrap_or_default(), deadline, total, given: 0, over: false }
}

/// Some of the futures have not ended within the time that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{unfinished} (of {total}) futures have not ended within {timeout:?}")]
pub struct Unfinished {
    /// The number of futures that have not ended.
    pub unfinished: usize,
    /// The number of all futures.
    pub total: usize,
    /// The timeout that was given.
    pub timeout: Duration,
}

/// An iterator over futures in the order in which they end. Made by [`as_completed`]. It keeps no clone of a future
/// that it has yielded.
pub struct AsCompleted<R> {
    watched: Watched<R>,
    timeout: Duration,
    deadline: Option<Instant>,
    total: usize,
    given: usize,
    over: bool,
}

impl<R> Iterator for AsCompleted<R> {
    type Item = Result<TaskFuture<R>, Unfinished>;

    /// Waits for the next future that ends; `None` after the last one, and after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.given == self.total {
            return None;
        }
        let Some(index) = self.watched.next(self.deadline) else {
            self.over = true;
            let unfinished = self.total - self.given;
            return Some(Err(Unfinished { unfinished, total: self.total, timeout: self.timeout }));
        };
        self.given += 1;
        self.watched.futures[index].take().map(Ok)
    }
}

impl<R> std::fmt::Debug for AsCompleted<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsCompleted")
            .field("total", &self.total)
            .field("given", &self.given)
            .finish_non_exhaustive()
    }
}

/// Futures, and the channel that gets the index of each when it ends.
struct Watched<R> {
    /// Each future at its index; `None` when it was yielded.
    futures: Vec<Option<TaskFuture<R>>>,
    sender: Sender<usize>,
    ended: Receiver<usize>,
}

impl<R> Watched<R> {
    fn new(futures: impl IntoIterator<Item = TaskFuture<R>>) -> Self {
        let mut seen = HashSet::new();
        let futures = futures.into_iter().filter(|future| seen.insert(Arc::as_ptr(future.cell())));
        let (sender, ended) = crossbeam_channel::unbounded();
        let watched = Self { futures: futures.map(Some).collect(), sender, ended };
        for (index, future) in watched.futures.iter().enumerate() {
            let Some(future) = future else { continue };
            future.cell().watch(index, &watched.sender);
            future.call_driver();
        }
        watched
    }

    /// The index of the next future that has ended; `None` if none does before the deadline.
    fn next(&self, deadline: Option<Instant>) -> Option<usize> {
        match deadline {
            None => self.ended.recv().ok(),
            Some(at) => self.ended.recv_deadline(at).ok(),
        }
    }

    fn has_failed(&self, index: usize) -> bool {
        let future = self.futures[index].as_ref();
        future.is_some_and(|future| future.status() == Status::Finished && future.exception().is_some())
    }
}

impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        self.futures.iter().flatten().for_each(|future| future.cell().unwatch(&self.sender));
    }
}
