//! [`TaskFuture`]: one submitted task, to wait for, to await, or to add a callback to.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::decode::decode;
use crate::callbacks;
use crate::dispatch::Event;
use crate::error::TaskError;
use crate::ids::TaskId;
use crate::runtime::cell::future::{FutureCell, Poller};
use crate::runtime::{Completed, Figures, Runtime, TaskLog, lead};

/// A submitted task.
///
/// Its value comes from [`result`](Self::result), which blocks, from an `.await`, or in a
/// [callback](Self::add_done_callback). Dropping a future has no effect on the task. Clones are futures of the same
/// task.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let square = pool.task::<i64, i64>("square")?;
/// let future = square.submit(&7)?;
/// assert_eq!(future.result()?, 49);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TaskFuture<R> {
    id: TaskId,
    cell: Arc<FutureCell>,
    runtime: Weak<Runtime>,
    poller: Poller,
    value: PhantomData<fn() -> R>,
}

/// The status of a task.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let future = pool.task::<i64, i64>("square")?.submit(&3)?;
/// let _value = future.result();
/// assert_eq!(future.status(), wpool::Status::Finished);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// The task has not started.
    Pending,
    /// The task has started and not ended. A suspended task is running, too.
    Running,
    /// The task was cancelled before it started, and will never run.
    Cancelled,
    /// The task has ended, with a value or an error.
    Finished,
}

/// The value type of a future whose result has no Rust type. [`completed`](TaskFuture::completed) returns its bytes.
#[derive(Debug, Clone, Copy)]
pub enum Undecoded {}

/// The task has not ended, or the next result or value has not come, within the time that was given.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// use std::time::Duration;
/// let future = pool.task::<i64, i64>("square")?.submit(&3)?;
/// while let Err(wpool::NotYet(_)) = future.result_timeout(Duration::from_secs(1)) {
///     println!("still at it");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task has not ended within {0:?}")]
pub struct NotYet(pub Duration);

fn was_cancelled(completed: &Completed) -> bool {
    completed.result == Err(TaskError::Cancelled)
}

impl<R> TaskFuture<R> {
    pub(super) fn new(id: TaskId, cell: Arc<FutureCell>, runtime: &Arc<Runtime>) -> Self {
        Self { id, cell, runtime: Arc::downgrade(runtime), poller: Poller::default(), value: PhantomData }
    }

    /// The task's id in its pool.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the task has ended, with a value or an error. A cancelled task has ended.
    pub fn done(&self) -> bool {
        self.cell.is_complete()
    }

    /// Cancels the task if it has not started; then it never runs. Returns whether the task is cancelled, by this call
    /// or an earlier one. A running task continues to run, and a task that has ended keeps its result.
    pub fn cancel(&self) -> bool {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.tell(Event::Cancel(self.id));
        }
        self.cancelled()
    }

    /// Ends the task if it has not ended. A task that has not started is cancelled; a running or suspended task is
    /// ended within some milliseconds, and fails with [`TaskError::Killed`]. Its worker and the worker's other tasks
    /// continue. With a [grace](crate::GuestSettings::grace) the task first learns of it by `wpool_guest::cancelled()`,
    /// and may still end with a value within that time. Returns at once.
    pub fn kill(&self) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.tell(Event::Kill(self.id));
        }
    }

    /// Whether the task has started and not ended. A suspended task is running, too.
    pub fn running(&self) -> bool {
        !self.done()
            && self.runtime.upgrade().is_some_and(|runtime| runtime.is_running(self.id))
            && !self.done()
    }

    /// The task's status at this moment.
    pub fn status(&self) -> Status {
        let running = self.runtime.upgrade().is_some_and(|runtime| runtime.is_running(self.id));
        let running = self.cell.has_begun(running);
        match self.cell.look(was_cancelled) {
            None if running => Status::Running,
            None => Status::Pending,
            Some(true) => Status::Cancelled,
            Some(false) => Status::Finished,
        }
    }

    /// Waits for the end of the task, and returns its error; `None` if it has a value.
    pub fn exception(&self) -> Option<TaskError> {
        self.completed().result.as_ref().err().cloned()
    }

    /// Waits for the end of the task, at most for `timeout`, and returns its error; `None` if it has a value. Zero
    /// looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if the task has not ended by then.
    pub fn exception_timeout(&self, timeout: Duration) -> Result<Option<TaskError>, NotYet> {
        self.completed_timeout(timeout).map(|completed| completed.result.as_ref().err().cloned())
    }

    /// Returns a future of the same task without the type of its value, so that futures of several types can be waited
    /// for together.
    pub fn erased(&self) -> TaskFuture<Undecoded> {
        TaskFuture {
            id: self.id,
            cell: Arc::clone(&self.cell),
            runtime: Weak::clone(&self.runtime),
            poller: Poller::default(),
            value: PhantomData,
        }
    }

    /// Returns a future that cancels the task when it is dropped before the task has ended: for an `.await` that may be
    /// dropped early.
    #[must_use = "dropped at once, it cancels the task"]
    pub fn cancel_on_drop(self) -> CancelOnDrop<R> {
        CancelOnDrop(self)
    }

    pub(super) fn cell(&self) -> &Arc<FutureCell> {
        &self.cell
    }

    /// Has the driver read results, for a wait in which the calling thread does not read them itself.
    pub(super) fn call_driver(&self) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.call_driver();
        }
    }

    /// Whether the task was cancelled before it started.
    pub fn cancelled(&self) -> bool {
        self.cell.look(was_cancelled).unwrap_or(false)
    }

    /// Waits for the end of the task, and returns its value's bytes or its error, its figures and its log.
    pub fn completed(&self) -> Arc<Completed> {
        self.lead(None);
        self.cell.wait(None).expect("without a deadline a wait ends with the task")
    }

    /// As [`completed`](Self::completed), but waits at most for `timeout`. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if the task has not ended by then. It continues to run.
    pub fn completed_timeout(&self, timeout: Duration) -> Result<Arc<Completed>, NotYet> {
        let deadline = Instant::now().checked_add(timeout);
        if !timeout.is_zero() {
            self.lead(deadline);
        }
        self.cell.wait(deadline).ok_or(NotYet(timeout))
    }

    /// Reads from all workers on this thread until the task has ended, if the pool has no other job.
    fn lead(&self, deadline: Option<Instant>) {
        if !self.done()
            && let Some(runtime) = self.runtime.upgrade()
        {
            lead(&runtime, || self.done(), deadline);
            if !self.done() {
                runtime.call_driver();
            }
        }
    }

    /// The figures of the task; `None` while it has not ended.
    pub fn figures(&self) -> Option<Figures> {
        self.cell.look(|completed| completed.figures)
    }

    /// The log of the task; while the task runs, what has come of it, which may lag by some milliseconds. `None` while
    /// it has not ended and nothing has come.
    pub fn log(&self) -> Option<TaskLog> {
        if !self.done() {
            self.call_driver();
        }
        self.cell.log()
    }
}

impl<R: DeserializeOwned + Schema> TaskFuture<R> {
    /// Waits for the end of the task, and returns its value.
    ///
    /// # Errors
    /// The error of the task, or [`TaskError::BadResult`] if its value cannot be decoded.
    pub fn result(&self) -> Result<R, TaskError> {
        decode(&self.completed())
    }

    /// As [`result`](Self::result), but waits at most for `timeout`. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if the task has not ended by then. It continues to run.
    pub fn result_timeout(&self, timeout: Duration) -> Result<Result<R, TaskError>, NotYet> {
        self.completed_timeout(timeout).map(|completed| decode(&completed))
    }
}

impl<R: 'static> TaskFuture<R> {
    /// Adds a callback, which is called with this future when the task has ended, or at once if it has.
    ///
    /// Callbacks run one after the other on the pool's callback thread, which does nothing else; those of one task run
    /// in the order in which they were added. The result is visible before a callback runs. The panic of a callback is
    /// logged. A callback that blocks delays the callbacks after it, but no task. If the pool and all
    /// handles of its tasks are gone, `callback` runs on a thread that the program has for that.
    pub fn add_done_callback(&self, callback: impl FnOnce(&TaskFuture<R>) + Send + 'static) {
        let future = self.clone();
        let callback: Box<dyn FnOnce() + Send> = Box::new(move || callback(&future));
        let Some(runtime) = self.runtime.upgrade() else {
            // The pool is gone: the task has ended.
            return callbacks::after_pools().call(callback);
        };
        runtime.start_callbacks();
        match self.cell.add_callback(callback) {
            None => runtime.call_driver(),
            Some(callback) => runtime.call_back(callback),
        }
    }
}

impl<R> TaskFuture<R> {
    fn poll_completed(&mut self, context: &mut Context<'_>) -> Poll<Arc<Completed>> {
        if let Some(completed) = self.cell.poll(&mut self.poller, context.waker()) {
            return Poll::Ready(completed);
        }
        self.call_driver();
        Poll::Pending
    }
}

impl<R: DeserializeOwned + Schema> Future for TaskFuture<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_completed(context).map(|completed| decode(&completed))
    }
}

/// A raw or an erased future resolves to the value's bytes or the error, with the figures and the log.
impl Future for TaskFuture<Undecoded> {
    type Output = Arc<Completed>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.get_mut().poll_completed(context)
    }
}

/// A future whose task is cancelled when it is dropped. Made by [`TaskFuture::cancel_on_drop`].
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let square = pool.task::<i64, i64>("square")?;
/// let future = square.submit(&3)?.cancel_on_drop();
/// drop(future); // as a runtime does with the slower of two branches
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CancelOnDrop<R>(TaskFuture<R>);

impl<R: DeserializeOwned + Schema> Future for CancelOnDrop<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context)
    }
}

impl<R> Drop for CancelOnDrop<R> {
    fn drop(&mut self) {
        if !self.0.done() {
            self.0.cancel();
        }
    }
}

impl<R> Drop for TaskFuture<R> {
    fn drop(&mut self) {
        self.cell.forget(&self.poller);
    }
}

impl<R> Clone for TaskFuture<R> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            cell: Arc::clone(&self.cell),
            runtime: Weak::clone(&self.runtime),
            poller: Poller::default(),
            value: PhantomData,
        }
    }
}

impl<R> fmt::Debug for TaskFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unfinished = self.status();
        let state = self.cell.look(|completed| match &completed.result {
            Ok(bytes) => format!("finished with {} bytes", bytes.len()),
            Err(TaskError::Cancelled) => "cancelled".to_owned(),
            Err(error) => format!("failed ({}): {error}", error.kind()),
        });
        let state = state.unwrap_or_else(|| format!("{unfinished:?}").to_lowercase());
        f.debug_struct("TaskFuture").field("id", &self.id.0).field("state", &state).finish_non_exhaustive()
    }
}
