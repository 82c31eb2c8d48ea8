//! One task's future: waited for, awaited, or called back.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;

use super::callbacks::Callbacks;
use super::core::Shared;
use super::handle::Handle;
use super::wait::Watch;
use crate::dispatch::Event;
use crate::error::TaskError;
use crate::ids::{TaskId, WorkerId};
use crate::manager::Grant;

/// What a task used and how long it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figures {
    /// From being submitted to being run.
    pub queued: Duration,
    /// Running; the time that it was suspended does not count.
    pub run: Duration,
    /// From being submitted to having ended.
    pub total: Duration,
    /// The most linear memory that it had, in bytes.
    pub peak_memory: u64,
    /// Fuel that it used; zero if none is counted.
    pub fuel: u64,
    /// The worker that ran it; none if it never ran.
    pub worker: Option<WorkerId>,
    /// How many times it was begun.
    pub attempts: u32,
}

/// What a task wrote to its log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskLog {
    pub(crate) bytes: Vec<u8>,
    pub(crate) dropped: u64,
}

impl TaskLog {
    /// The text, as far as it is UTF-8. It is a guest's: it may hold control characters.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    /// Bytes that were written beyond the limit, and are lost.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.dropped == 0
    }
}

/// How a task ended: its value in postcard or its error, and what is known beside.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Completed {
    /// The value's bytes, or why there is none.
    pub result: Result<Vec<u8>, TaskError>,
    /// What it used.
    pub figures: Figures,
    /// What it wrote.
    pub log: TaskLog,
    /// The handles in the value.
    pub(super) carried: Option<Box<Carried>>,
}

/// Handles in the value of a task. They are grants until somebody reads the value: a handle that goes away has to
/// tell the pool, and a result that nobody reads may go away anywhere.
#[derive(Debug, Clone)]
pub(super) struct Carried {
    pub(super) grants: Vec<Grant>,
    pub(super) home: Weak<Shared>,
}

impl Completed {
    pub(crate) fn failed(error: TaskError) -> Self {
        Self { result: Err(error), figures: Figures::default(), log: TaskLog::default(), carried: None }
    }

    /// The value of a typed task, out of its bytes.
    pub(super) fn decode<R: DeserializeOwned>(&self) -> Result<R, TaskError> {
        let bytes = self.result.as_deref().map_err(TaskError::clone)?;
        let read = || match postcard::take_from_bytes(bytes) {
            Ok((value, [])) => Ok(value),
            Ok((_, rest)) => {
                Err(TaskError::BadResult { message: format!("{} bytes are left over", rest.len()) })
            }
            Err(error) => Err(TaskError::BadResult { message: error.to_string() }),
        };
        match &self.carried {
            None => read(),
            Some(carried) => {
                let handles = carried.grants.iter().map(|grant| Handle::new(grant.clone(), &carried.home));
                <Handle as wpool_objects::Handle>::receiving(handles.collect(), read)
            }
        }
    }
}

type Callback = Box<dyn FnOnce() + Send>;

/// What the pool and the owners of one future share.
pub(crate) struct FutureState {
    inner: Mutex<Inner>,
    ended: Condvar,
}

#[derive(Default)]
struct Inner {
    completed: Option<Arc<Completed>>,
    wakers: Vec<Waker>,
    callbacks: Vec<Callback>,
    /// How many threads wait for the end.
    waiting: usize,
    /// Those who wait for the first of several futures, each with the place of this one among them.
    watches: Vec<(usize, Arc<Watch>)>,
}

impl FutureState {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { inner: Mutex::default(), ended: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that can panic runs under this lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task has ended. The result is visible before anybody is called back.
    pub(super) fn settle(&self, completed: Completed, callbacks: &Callbacks) {
        let mut inner = self.lock();
        debug_assert!(inner.completed.is_none(), "a task ends once");
        inner.completed = Some(Arc::new(completed));
        let (wakers, waiting) = (std::mem::take(&mut inner.wakers), std::mem::take(&mut inner.callbacks));
        let (watches, waited_for) = (std::mem::take(&mut inner.watches), inner.waiting > 0);
        drop(inner);
        if waited_for {
            self.ended.notify_all();
        }
        watches.into_iter().for_each(|(place, watch)| watch.ended(place));
        wakers.into_iter().for_each(Waker::wake);
        waiting.into_iter().for_each(|callback| callbacks.call(callback));
    }

    /// Has `watch` told when the task has ended; at once if it has.
    pub(super) fn watch(&self, place: usize, watch: &Arc<Watch>) {
        let mut inner = self.lock();
        if inner.completed.is_none() {
            inner.watches.push((place, Arc::clone(watch)));
        } else {
            drop(inner);
            watch.ended(place);
        }
    }

    /// `watch` does not want to be told any more.
    pub(super) fn unwatch(&self, watch: &Arc<Watch>) {
        self.lock().watches.retain(|(_, other)| !Arc::ptr_eq(other, watch));
    }

    fn wait(&self, deadline: Option<Instant>) -> Option<Arc<Completed>> {
        let mut inner = self.lock();
        loop {
            if let Some(completed) = &inner.completed {
                return Some(Arc::clone(completed));
            }
            let left = match deadline {
                None => None,
                Some(at) => Some(at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?),
            };
            inner.waiting += 1;
            inner = match left {
                None => self.ended.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(left) => self.ended.wait_timeout(inner, left).unwrap_or_else(PoisonError::into_inner).0,
            };
            inner.waiting -= 1;
        }
    }
}

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
    state: Arc<FutureState>,
    shared: Weak<Shared>,
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

impl<R> TaskFuture<R> {
    pub(super) fn new(id: TaskId, state: Arc<FutureState>, shared: &Arc<Shared>) -> Self {
        Self { id, state, shared: Arc::downgrade(shared), value: PhantomData }
    }

    /// The task's number in its pool.
    pub fn id(&self) -> TaskId {
        self.id
    }

    /// Whether the task has ended, with a value or an error; a cancelled task has.
    pub fn done(&self) -> bool {
        self.state.lock().completed.is_some()
    }

    /// Takes the task back if it has not begun: then it never runs, and this is true. A task that runs
    /// goes on, and one that has ended stays as it is. Cancelled twice is cancelled.
    pub fn cancel(&self) -> bool {
        if let Some(shared) = self.shared.upgrade() {
            shared.tell(Event::Cancel(self.id));
        }
        self.cancelled()
    }

    /// Ends the task if it has not ended: one that has not begun is cancelled, one that runs or waits is ended
    /// within some milliseconds, and fails with [`TaskError::Killed`]. Its worker and the worker's other tasks go on.
    /// With a [grace](crate::GuestSettings::grace) the task is told first, and may end with a value. Returns at
    /// once.
    pub fn kill(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.tell(Event::Kill(self.id));
        }
    }

    /// Whether the task has begun and not ended. A task that waits in its worker is running, too.
    pub fn running(&self) -> bool {
        !self.done() && self.shared.upgrade().is_some_and(|shared| shared.is_running(self.id)) && !self.done()
    }

    /// What has become of the task so far.
    pub fn status(&self) -> Status {
        let running = self.shared.upgrade().is_some_and(|shared| shared.is_running(self.id));
        match &self.state.lock().completed {
            None if running => Status::Running,
            None => Status::Pending,
            Some(completed) if completed.result == Err(TaskError::Cancelled) => Status::Cancelled,
            Some(_) => Status::Finished,
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
            state: Arc::clone(&self.state),
            shared: Weak::clone(&self.shared),
            value: PhantomData,
        }
    }

    /// The same task, cancelled when this handle is dropped before it has ended: for an `.await` that somebody may
    /// give up.
    #[must_use = "dropped at once, it cancels the task"]
    pub fn cancel_on_drop(self) -> CancelOnDrop<R> {
        CancelOnDrop(self)
    }

    pub(super) fn state(&self) -> &Arc<FutureState> {
        &self.state
    }

    /// Has the pool's own thread read results, since nobody waits for this one alone.
    pub(super) fn call_driver(&self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.lead.call_driver();
        }
    }

    /// Whether the task was cancelled before it began.
    pub fn cancelled(&self) -> bool {
        matches!(&self.state.lock().completed, Some(completed) if completed.result == Err(TaskError::Cancelled))
    }

    /// Waits for the end of the task, and tells how it ended, with its bytes, figures and log.
    pub fn completed(&self) -> Arc<Completed> {
        self.lead(None);
        self.state.wait(None).expect("without a deadline a wait ends with the task")
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
        self.state.wait(deadline).ok_or(NotYet(timeout))
    }

    /// Reads for the whole pool until this task has ended, if nobody else waits for anything.
    fn lead(&self, deadline: Option<Instant>) {
        if !self.done()
            && let Some(shared) = self.shared.upgrade()
        {
            shared.lead(|| self.done(), deadline);
            if !self.done() {
                shared.lead.call_driver();
            }
        }
    }

    /// What the task used; none while it has not ended.
    pub fn figures(&self) -> Option<Figures> {
        self.state.lock().completed.as_ref().map(|completed| completed.figures)
    }

    /// What the task wrote to its log; none while it has not ended.
    pub fn log(&self) -> Option<TaskLog> {
        self.state.lock().completed.as_ref().map(|completed| completed.log.clone())
    }
}

impl<R: DeserializeOwned> TaskFuture<R> {
    /// Waits for the end of the task, and returns its value.
    ///
    /// # Errors
    /// Why the task has no value.
    pub fn result(&self) -> Result<R, TaskError> {
        self.completed().decode()
    }

    /// Waits for the end of the task, at most `timeout` from now. Zero looks without waiting.
    ///
    /// # Errors
    /// [`NotYet`] if it has not ended by then; the task goes on.
    pub fn result_timeout(&self, timeout: Duration) -> Result<Result<R, TaskError>, NotYet> {
        self.completed_timeout(timeout).map(|completed| completed.decode())
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
        let callback: Callback = Box::new(move || callback(&future));
        let Some(shared) = self.shared.upgrade() else {
            // The pool is gone, so the task has ended, and there is no thread left to call from.
            return callback();
        };
        shared.callbacks().start();
        let mut inner = self.state.lock();
        if inner.completed.is_none() {
            inner.callbacks.push(callback);
            drop(inner);
            shared.lead.call_driver();
            return;
        }
        drop(inner);
        shared.callbacks().call(callback);
    }
}

impl<R: DeserializeOwned> Future for TaskFuture<R> {
    type Output = Result<R, TaskError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut inner = self.state.lock();
        if let Some(completed) = &inner.completed {
            let completed = Arc::clone(completed);
            drop(inner);
            return Poll::Ready(completed.decode());
        }
        if !inner.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            inner.wakers.push(context.waker().clone());
        }
        drop(inner);
        if let Some(shared) = self.shared.upgrade() {
            shared.lead.call_driver();
        }
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
            state: Arc::clone(&self.state),
            shared: Weak::clone(&self.shared),
            value: PhantomData,
        }
    }
}

impl<R> fmt::Debug for TaskFuture<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state.lock().completed {
            None => "pending".to_owned(),
            Some(completed) => match &completed.result {
                Ok(bytes) => format!("finished with {} bytes", bytes.len()),
                Err(error) => format!("failed: {error}"),
            },
        };
        f.debug_struct("TaskFuture").field("id", &self.id.0).field("state", &state).finish_non_exhaustive()
    }
}
