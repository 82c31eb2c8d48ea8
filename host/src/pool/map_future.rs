//! [`MapFuture`]: all values of a map as one list, or its first error, when every task has ended.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::decode::decode;
use super::future::NotYet;
use crate::error::TaskError;
use crate::lock::{Condvar, Mutex, wait_until};
use crate::runtime::Completed;

/// The first error of a map, in the order of the inputs. All its tasks have ended.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("item {index} failed")]
pub struct MapError {
    /// The index of the input.
    pub index: usize,
    /// The error of its task.
    #[source]
    pub error: TaskError,
}

/// All results of a map that runs in the background. Made by [`Task::map_async`](crate::Task::map_async). Dropping it
/// has no effect on the map.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let squares = pool.task::<i64, i64>("square")?.map_async(0..10, |results| println!("{results:?}"));
/// println!("not there yet: {}", !squares.ready());
/// assert_eq!(squares.get()?[3], 9);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct MapFuture<R> {
    state: Arc<State<R>>,
}

/// `None` until all tasks have ended.
type Outcome<R> = Option<Arc<Result<Vec<R>, MapError>>>;

struct State<R> {
    result: Mutex<Outcome<R>>,
    ended: Condvar,
    /// The `.await`s of the result.
    wakers: Mutex<Vec<Waker>>,
}

/// Decodes all results into their values, or returns the first error.
pub(super) fn decode_all<R>(
    results: impl IntoIterator<Item = Completed>,
    decode: impl Fn(&Completed) -> Result<R, TaskError>,
) -> Result<Vec<R>, MapError> {
    let mut failed = None;
    let mut values = Vec::new();
    for (index, completed) in results.into_iter().enumerate() {
        match decode(&completed) {
            Ok(value) => values.push(value),
            Err(error) => drop(failed.get_or_insert(MapError { index, error })),
        }
    }
    failed.map_or(Ok(values), Err)
}

/// Decodes a result on the callback thread. The threads that wait for the map must not miss its end, so a panic of the
/// type's own code is an error of that result.
fn decode_or_catch<R: DeserializeOwned + Schema>(completed: &Completed) -> Result<R, TaskError> {
    std::panic::catch_unwind(AssertUnwindSafe(|| decode(completed)))
        .unwrap_or_else(|_| Err(TaskError::BadResult { message: "decoding it panicked".to_owned() }))
}

impl<R: DeserializeOwned + Schema + Send + Sync + 'static> MapFuture<R> {
    /// Makes a future, and the function that completes it and then calls `callback`.
    pub(super) fn new(
        callback: impl FnOnce(&Result<Vec<R>, MapError>) + Send + 'static,
    ) -> (Self, impl FnOnce(Vec<Completed>) + Send + 'static) {
        let state =
            Arc::new(State { result: Mutex::new(None), ended: Condvar::new(), wakers: Mutex::default() });
        let completed = Arc::clone(&state);
        let complete = move |results| {
            let result = Arc::new(decode_all(results, decode_or_catch));
            // The callback may be slow, so threads that wait for the result are woken before it.
            *completed.result.lock() = Some(Arc::clone(&result));
            completed.ended.notify_all();
            let wakers = std::mem::take(&mut *completed.wakers.lock());
            wakers.into_iter().for_each(Waker::wake);
            callback(&result);
        };
        (Self { state }, complete)
    }
}

impl<R> MapFuture<R> {
    /// Whether all tasks have ended.
    pub fn ready(&self) -> bool {
        self.state.result.lock().is_some()
    }

    /// Whether all tasks have ended with a value; `None` until all have ended.
    pub fn successful(&self) -> Option<bool> {
        self.state.result.lock().as_ref().map(|result| result.is_ok())
    }

    /// Waits until all tasks have ended, at most for `timeout`. Returns whether they have. Zero looks without waiting.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout)).is_some()
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Option<Arc<Result<Vec<R>, MapError>>> {
        wait_until(&self.state.ended, &mut self.state.result.lock(), deadline, |result| result.clone())
    }
}

impl<R: Clone> MapFuture<R> {
    /// Waits until all tasks have ended, and returns their values in the order of the inputs.
    ///
    /// # Errors
    /// The first error in that order.
    pub fn get(&self) -> Result<Vec<R>, MapError> {
        let result = self.wait_until(None).expect("without a deadline a wait ends with the map");
        Result::clone(&result)
    }

    /// As [`get`](Self::get), but waits at most for `timeout`. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if not all tasks have ended by then.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Result<Vec<R>, MapError>, NotYet> {
        let result = self.wait_until(Instant::now().checked_add(timeout)).ok_or(NotYet(timeout))?;
        Ok(Result::clone(&result))
    }
}

/// Resolves to what [`get`](MapFuture::get) returns.
impl<R: Clone> Future for MapFuture<R> {
    type Output = Result<Vec<R>, MapError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The waker is there before the result is looked for: whichever comes first, one of the two sees the other.
        let waker = context.waker().clone();
        let mut wakers = self.state.wakers.lock();
        let earlier =
            wakers.iter().position(|known| known.will_wake(&waker)).map(|at| wakers.swap_remove(at));
        wakers.push(waker);
        drop(wakers);
        drop(earlier);
        match self.wait_until(Some(Instant::now())) {
            Some(result) => Poll::Ready(Result::clone(&result)),
            None => Poll::Pending,
        }
    }
}

impl<R> std::fmt::Debug for MapFuture<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MapFuture").field("successful", &self.successful()).finish_non_exhaustive()
    }
}
