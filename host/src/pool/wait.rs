//! Waiting for several futures at once, of one pool or of several.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::future::{Status, TaskFuture};

/// Which futures have ended, in that order, as somebody who waits for them is told.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    ended: Mutex<VecDeque<usize>>,
    news: Condvar,
}

impl Watch {
    /// The future at this place has ended.
    pub(super) fn ended(&self, place: usize) {
        self.lock().push_back(place);
        self.news.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<usize>> {
        // Nothing that can panic runs under this lock.
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next one that has ended, if one does before the deadline.
    fn next(&self, deadline: Option<Instant>) -> Option<usize> {
        let mut ended = self.lock();
        loop {
            if let Some(place) = ended.pop_front() {
                return Some(place);
            }
            ended = match deadline {
                None => self.news.wait(ended).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
                    self.news.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// When [`wait`] has waited enough.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ReturnWhen {
    /// One of the futures has ended.
    FirstCompleted,
    /// One of them has ended with an error, or all have ended. That one was cancelled is no error.
    FirstException,
    /// All of them have ended.
    #[default]
    AllCompleted,
}

/// What [`wait`] returns: the futures in the order in which they were given.
#[derive(Debug)]
pub struct Waited<R> {
    /// Those that have ended; a cancelled one has.
    pub done: Vec<TaskFuture<R>>,
    /// The others.
    pub not_done: Vec<TaskFuture<R>>,
}

/// Waits for several futures, of one pool or of several, until `return_when` says that it is enough or the time is
/// over. A time of `None` is for ever, zero looks without waiting. A future that is given twice counts once.
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
    let mut left = watched.futures.len();
    while left > 0 {
        let Some(place) = watched.watch.next(deadline) else { break };
        left -= 1;
        let enough = match return_when {
            ReturnWhen::FirstCompleted => true,
            ReturnWhen::FirstException => watched.has_failed(place),
            ReturnWhen::AllCompleted => false,
        };
        if enough {
            break;
        }
    }
    let (done, not_done) = watched.futures.iter().flatten().cloned().partition(TaskFuture::done);
    Waited { done, not_done }
}

/// Gives several futures, of one pool or of several, as they end, those first that have ended already. A time of
/// `None` is for ever, and else counts from this call. A future that is given twice comes once.
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
    /// How many have not ended.
    pub unfinished: usize,
    /// How many there are.
    pub total: usize,
    /// The time that was given.
    pub timeout: Duration,
}

/// Futures as they end. Made by [`as_completed`]. It keeps no hold on a future that it has given.
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

    /// The next one that has ended. After an error there is nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.over || self.given == self.total {
            return None;
        }
        let Some(place) = self.watched.watch.next(self.deadline) else {
            self.over = true;
            let unfinished = self.total - self.given;
            return Some(Err(Unfinished { unfinished, total: self.total, timeout: self.timeout }));
        };
        self.given += 1;
        self.watched.futures[place].take().map(Ok)
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

/// Futures, and the watch that is told of their ends.
struct Watched<R> {
    /// Those that were not given away yet, in their places.
    futures: Vec<Option<TaskFuture<R>>>,
    watch: Arc<Watch>,
}

impl<R> Watched<R> {
    fn new(futures: impl IntoIterator<Item = TaskFuture<R>>) -> Self {
        let mut seen = HashSet::new();
        let futures = futures.into_iter().filter(|future| seen.insert(Arc::as_ptr(future.state())));
        let watched = Self { futures: futures.map(Some).collect(), watch: Arc::default() };
        for (place, future) in watched.futures.iter().enumerate() {
            let Some(future) = future else { continue };
            future.state().watch(place, &watched.watch);
            future.call_driver();
        }
        watched
    }

    fn has_failed(&self, place: usize) -> bool {
        let future = self.futures[place].as_ref();
        future.is_some_and(|future| future.status() == Status::Finished && future.exception().is_some())
    }
}

impl<R> Drop for Watched<R> {
    fn drop(&mut self) {
        self.futures.iter().flatten().for_each(|future| future.state().unwatch(&self.watch));
    }
}
