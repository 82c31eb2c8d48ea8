//! All results of a map together: one list, or the first error, when every task has ended.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::future::{Completed, NotYet};
use crate::error::TaskError;

/// One item of a map has failed, the first in the order of the inputs. The others have ended, too.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("item {index} failed")]
pub struct MapError {
    /// Its place among the inputs.
    pub index: usize,
    /// Why it has no value.
    #[source]
    pub error: TaskError,
}

/// The results of a map that somebody has not waited for. Made by [`Task::map_async`](crate::Task::map_async).
pub struct MapFuture<R> {
    state: Arc<State<R>>,
}

/// Nothing as long as tasks are running.
type Outcome<R> = Option<Arc<Result<Vec<R>, MapError>>>;

struct State<R> {
    result: Mutex<Outcome<R>>,
    ended: Condvar,
}

impl<R> State<R> {
    fn lock(&self) -> MutexGuard<'_, Outcome<R>> {
        // Nothing that can panic runs under this lock.
        self.result.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The values of results, or the first error.
pub(super) fn all<R: DeserializeOwned>(
    results: impl IntoIterator<Item = Completed>,
) -> Result<Vec<R>, MapError> {
    let mut failed = None;
    let mut values = Vec::new();
    for (index, completed) in results.into_iter().enumerate() {
        match completed.decode() {
            Ok(value) => values.push(value),
            Err(error) => drop(failed.get_or_insert(MapError { index, error })),
        }
    }
    failed.map_or(Ok(values), Err)
}

impl<R: DeserializeOwned + Send + Sync + 'static> MapFuture<R> {
    /// A future, and what settles it and then calls back.
    pub(super) fn new(
        callback: impl FnOnce(&Result<Vec<R>, MapError>) + Send + 'static,
    ) -> (Self, impl FnOnce(Vec<Completed>) + Send + 'static) {
        let state = Arc::new(State { result: Mutex::new(None), ended: Condvar::new() });
        let settled = Arc::clone(&state);
        let settle = move |results| {
            let result = Arc::new(all(results));
            // The result is visible before anybody is called back, and a callback may take its time.
            *settled.lock() = Some(Arc::clone(&result));
            settled.ended.notify_all();
            callback(&result);
        };
        (Self { state }, settle)
    }
}

impl<R> MapFuture<R> {
    /// Whether all tasks have ended.
    pub fn ready(&self) -> bool {
        self.state.lock().is_some()
    }

    /// Whether all tasks have ended with a value. None while they have not ended.
    pub fn successful(&self) -> Option<bool> {
        self.state.lock().as_ref().map(|result| result.is_ok())
    }

    /// Waits until all tasks have ended, at most so long. False if they have not.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout)).is_some()
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Option<Arc<Result<Vec<R>, MapError>>> {
        let mut result = self.state.lock();
        while result.is_none() {
            result = match deadline {
                None => self.state.ended.wait(result).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let left = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
                    self.state.ended.wait_timeout(result, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        result.clone()
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

    /// Waits until all tasks have ended, at most so long.
    ///
    /// # Errors
    /// [`NotYet`] if they have not.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Result<Vec<R>, MapError>, NotYet> {
        let result = self.wait_until(Instant::now().checked_add(timeout)).ok_or(NotYet(timeout))?;
        Ok(Result::clone(&result))
    }
}

impl<R> std::fmt::Debug for MapFuture<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MapFuture").field("successful", &self.successful()).finish_non_exhaustive()
    }
}
