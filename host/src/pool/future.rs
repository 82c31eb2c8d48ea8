//! [`TaskFuture`]: one submitted task, waited for, awaited, or called back.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::decode::decode;
use crate::dispatch::Event;
use crate::error::TaskError;
use crate::ids::TaskId;
use crate::runtime::cell::future::FutureCell;
use crate::runtime::{Completed, Figures, Runtime, TaskLog, lead};

/// A submitted task: its value when there is one.
///
/// It can be waited for ([`result`](Self::result)), awaited, or asked to call back. Dropping it changes
/// nothing for the task. Clones are the same task.
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
    value: PhantomData<fn() -> R>,
}

/// What has become of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// It has not begun.
    Pending,
    /// It has begun, and not ended.
    Running,
    /// It was cancelled before it began, and never will.
    Cancelled,
    /// It has ended, with a value or an error.
    Finished,
}

/// The value of a future whose bytes nobody has given a type: it is had from
/// [`completed`](TaskFuture::completed).
#[derive(Debug, Clone, Copy)]
pub enum Undecoded {}

/// The task has not ended within the time that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task has not ended within {0:?}")]
pub struct NotYet(pub Duration);

fn was_cancelled(completed: &Completed) -> bool {
    completed.result == Err(TaskError::Cancelled)
}

impl<R> TaskFuture<R> {
    pub(super) fn new(id: TaskId, cell: Arc<FutureCell>, runtime: &Arc<Runtime>) -> Self {
        Self { id, cell, runtime: Arc::downgrade(runtime), value: PhantomData }
    }

    /// The task's number in its pool.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the task has ended, with a value or an error; a cancelled task has.
    pub fn done(&self) -> bool {
        self.cell.is_complete()
    }

    /// Takes the task back if it has not begun: then it never runs, and this is true. A task that runs
    /// goes on, and one that has ended stays as it is. Cancelled twice is cancelled.
    pub fn cancel(&self) -> bool {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.tell(Event::Cancel(self.id));
        }
        self.cancelled()
    }

    /// Ends the task if it has not ended: one that has not begun is cancelled, one that runs or waits is ended
    /// within some milliseconds, and fails with [`TaskError::Killed`]. Its worker and the worker's other tasks go on.
    /// With a [grace](crate::GuestSettings::grace) the task is told first, and may end with a value. Returns at
    /// once.
    pub fn kill(&self) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.tell(Event::Kill(self.id));
        }
    }

    /// Whether the task has begun and not ended. A task that waits in its worker is running, too.
    pub fn running(&self) -> bool {
        !self.done()
            && self.runtime.upgrade().is_some_and(|runtime| runtime.is_running(self.id))
            && !self.done()
    }

    /// What has become of the task so far.
    pub fn status(&self) -> Status {
        let running = self.runtime.upgrade().is_some_and(|runtime| runtime.is_running(self.id));
        match self.cell.look(was_cancelled) {
            None if running => Status::Running,
            None => Status::Pending,
            Some(true) => Status::Cancelled,
            Some(false) => Status::Finished,
        }
    }

    /// Waits for the end of the task, and tells why it has no value; none if it has one.
    pub fn exception(&self) -> Option<TaskError> {
        self.completed().result.as_ref().err().cloned()
    }

    /// Waits for the end of the task, at most `timeout` from now, and tells why it has no value; none if it has
    /// one. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if it has not ended by then.
    pub fn exception_timeout(&self, timeout: Duration) -> Result<Option<TaskError>, NotYet> {
        self.completed_timeout(timeout).map(|completed| completed.result.as_ref().err().cloned())
    }

    /// The same task without the type of its value, so that futures of several types can be waited for together.
    pub fn erased(&self) -> TaskFuture<Undecoded> {
        TaskFuture {
            id: self.id,
            cell: Arc::clone(&self.cell),
            runtime: Weak::clone(&self.runtime),
            value: PhantomData,
        }
    }

    /// The same task, cancelled when this handle is dropped before it has ended: for an `.await` that somebody may
    /// give up.
    #[must_use = "dropped at once, it cancels the task"]
    pub fn cancel_on_drop(self) -> CancelOnDrop<R> {
        CancelOnDrop(self)
    }

    pub(super) fn cell(&self) -> &Arc<FutureCell> {
        &self.cell
    }

    /// Has the pool's own thread read results, since nobody waits for this one alone.
    pub(super) fn call_driver(&self) {
        if let Some(runtime) = self.runtime.upgrade() {
            runtime.call_driver();
        }
    }

    /// Whether the task was cancelled before it began.
    pub fn cancelled(&self) -> bool {
        self.cell.look(was_cancelled).unwrap_or(false)
    }

    /// Waits for the end of the task, and tells how it ended, with its bytes, figures and log.
    pub fn completed(&self) -> Arc<Completed> {
        self.lead(None);
        self.cell.wait(None).expect("without a deadline a wait ends with the task")
    }

    /// Waits for the end of the task, at most `timeout` from now. Zero looks without waiting. The task
    /// goes on in either case.
    ///
    /// # Errors
    /// [`NotYet`] if it has not ended by then.
    pub fn completed_timeout(&self, timeout: Duration) -> Result<Arc<Completed>, NotYet> {
        let deadline = Instant::now().checked_add(timeout);
        if !timeout.is_zero() {
            self.lead(deadline);
        }
        self.cell.wait(deadline).ok_or(NotYet(timeout))
    }

    /// Reads for the whole pool until this task has ended, if nobody else waits for anything.
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

    /// What the task used; none while it has not ended.
    pub fn figures(&self) -> Option<Figures> {
        self.cell.look(|completed| completed.figures)
    }

    /// What the task wrote to its log; none while it has not ended.
    pub fn log(&self) -> Option<TaskLog> {
        self.cell.look(|completed| completed.log.clone())
    }
}

impl<R: DeserializeOwned> TaskFuture<R> {
    /// Waits for the end of the task, and returns its value.
    ///
    /// # Errors
    /// Why the task has no value.
    pub fn result(&self) -> Result<R, TaskError> {
        decode(&self.completed(), &self.runtime)
    }

    /// Waits for the end of the task, at most `timeout` from now. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if it has not ended by then; the task goes on.
    pub fn result_timeout(&self, timeout: Duration) -> Result<Result<R, TaskError>, NotYet> {
        self.completed_timeout(timeout).map(|completed| decode(&completed, &self.runtime))
    }
}

impl<R: 'static> TaskFuture<R> {
    /// Has `callback` called with this future when the task has ended, or at once if it has.
    ///
    /// Callbacks run on a thread of the pool's own that does nothing else, in the order in which they
    /// were added, when the result is visible to everybody. One that panics is logged, and the next
    /// runs. One that blocks delays the callbacks after it, and no task.
    pub fn add_done_callback(&self, callback: impl FnOnce(&TaskFuture<R>) + Send + 'static) {
        let future = self.clone();
        let callback: Box<dyn FnOnce() + Send> = Box::new(move || callback(&future));
        let Some(runtime) = self.runtime.upgrade() else {
            // The pool is gone, so the task has ended, and there is no thread left to call from.
            return callback();
        };
        runtime.start_callbacks();
        match self.cell.add_callback(callback) {
            None => runtime.call_driver(),
            Some(callback) => runtime.call_back(callback),
        }
    }
}

impl<R: DeserializeOwned> Future for TaskFuture<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(completed) = self.cell.poll(context.waker()) {
            return Poll::Ready(decode(&completed, &self.runtime));
        }
        self.call_driver();
        Poll::Pending
    }
}

/// A future whose task is cancelled when it is dropped. Made by [`TaskFuture::cancel_on_drop`].
#[derive(Debug)]
pub struct CancelOnDrop<R>(TaskFuture<R>);

impl<R: DeserializeOwned> Future for CancelOnDrop<R> {
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

impl<R> Clone for TaskFuture<R> {
    fn clone(&self) -> Self {
        Self {
            id: self.id,
            cell: Arc::clone(&self.cell),
            runtime: Weak::clone(&self.runtime),
            value: PhantomData,
        }
    }
}

impl<R> fmt::Debug for TaskFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.cell.look(|completed| match &completed.result {
            Ok(bytes) => format!("finished with {} bytes", bytes.len()),
            Err(error) => format!("failed: {error}"),
        });
        let state = state.unwrap_or_else(|| "pending".to_owned());
        f.debug_struct("TaskFuture").field("id", &self.id.0).field("state", &state).finish_non_exhaustive()
    }
}
