//! [`RawTask`]: a handle on one of a guest's functions, for arguments and results that are bytes in postcard.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::emitted::{EmitBuffer, Emitted};
use super::future::{TaskFuture, Undecoded};
use super::map_input::Encode;
use super::objects::handle::Handle;
use super::raw_map::RawMap;
use crate::error::{SettingError, SubmitError, TaskLookupError};
use crate::guest::{Guest, Signature};
use crate::runtime::cell::log::LogCell;
use crate::runtime::{Arguments, LogPart, PoolGuest, Runtime, TaskCall, TaskOptions};

/// A task whose arguments and results are bytes in postcard.
///
/// [`Signature`] converts them from and to JSON. For Rust types there is [`Task`](crate::Task).
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let square = pool.raw_task("square")?;
/// let arguments = square.signature().arguments_from_json(b"[3]")?;
/// let completed = square.submit(arguments)?.completed();
/// let mut json = Vec::new();
/// square.signature().value_to_json(completed.result.as_ref().map_err(Clone::clone)?, &mut json)?;
/// assert_eq!(json, b"9");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RawTask {
    runtime: Arc<Runtime>,
    call: TaskCall,
}

/// The arguments of one call: bytes in postcard, and the handles on shared objects in them.
///
/// ```
/// let arguments = wpool::RawArguments::from(vec![6]); // 3 in postcard
/// assert_eq!(arguments.bytes(), [6]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct RawArguments {
    bytes: Vec<u8>,
    handles: Vec<Handle>,
}

impl RawArguments {
    pub(in crate::pool) fn new(bytes: Vec<u8>, handles: Vec<Handle>) -> Self {
        Self { bytes, handles }
    }

    /// The bytes in postcard.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl From<Vec<u8>> for RawArguments {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes, Vec::new())
    }
}

impl From<RawArguments> for Arguments {
    fn from(RawArguments { bytes, handles }: RawArguments) -> Self {
        Self { bytes, grants: handles.iter().map(Handle::to_grant).collect() }
    }
}

/// The settings of a task's handle, for the raw and the typed one.
macro_rules! task_settings {
    (|$task:ident| $options:expr) => {
        /// The run timeout: how long a task may run. While it is suspended the clock stands still. Default: the
        /// guest's; `None` is no limit.
        #[must_use]
        pub fn timeout(&self, timeout: impl Into<Option<Duration>>) -> Self {
            let mut $task = self.clone();
            $options.run_timeout = timeout.into();
            $task
        }

        /// How long a task may be queued before it starts. Default: the guest's; `None` is no limit.
        #[must_use]
        pub fn queue_timeout(&self, timeout: impl Into<Option<Duration>>) -> Self {
            let mut $task = self.clone();
            $options.queue_timeout = timeout.into();
            $task
        }

        /// How long a task may take from its submission to its end. Default: the guest's; `None` is no limit.
        #[must_use]
        pub fn total_timeout(&self, timeout: impl Into<Option<Duration>>) -> Self {
            let mut $task = self.clone();
            $options.total_timeout = timeout.into();
            $task
        }

        /// How long a map may take as a whole, from the call on. When the time is over no more inputs are pulled, and
        /// tasks that have not ended fail with [`TaskError::Timeout`](crate::TaskError::Timeout). If the input may have
        /// more, the last result is [`TaskError::MapEnded`](crate::TaskError::MapEnded), beyond those of the inputs.
        /// Default: `None`, no limit.
        #[must_use]
        pub fn map_timeout(&self, timeout: impl Into<Option<Duration>>) -> Self {
            let mut $task = self.clone();
            $options.map_timeout = timeout.into();
            $task
        }

        /// The priority among the queued tasks of the guest: higher ones start first. Default: 0.
        #[must_use]
        pub fn priority(&self, priority: i32) -> Self {
            let mut $task = self.clone();
            $options.priority = priority;
            $task
        }

        /// How many times a task runs again whose worker was ended from outside. Default: the guest's.
        #[must_use]
        pub fn retries(&self, retries: u8) -> Self {
            let mut $task = self.clone();
            $options.max_retries = retries;
            $task
        }

        /// The number of a map's inputs that a worker is sent at a time; it changes the speed and nothing else. More
        /// than 256 count as 256. Default: `None`, and the pool measures what is best.
        ///
        /// # Errors
        /// If it is zero.
        pub fn chunk(&self, tasks: impl Into<Option<u32>>) -> Result<Self, SettingError> {
            let mut $task = self.clone();
            $options.chunk = tasks.into();
            if $options.chunk == Some(0) {
                return Err(SettingError::new("chunk", &0, "no task would ever be sent"));
            }
            Ok($task)
        }

        /// The number of inputs that a map pulls before their results are taken. Default: `None`, which is 8192.
        ///
        /// # Errors
        /// If it is zero.
        pub fn buffer(&self, inputs: impl Into<Option<usize>>) -> Result<Self, SettingError> {
            let mut $task = self.clone();
            $options.buffer = inputs.into();
            if $options.buffer == Some(0) {
                return Err(SettingError::new("buffer", &0, "no input would ever be pulled"));
            }
            Ok($task)
        }
    };
}

pub(super) use task_settings;

impl RawTask {
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        guest: &Arc<PoolGuest>,
        name: &str,
    ) -> Result<Self, TaskLookupError> {
        let function = guest.guest.function(name)?;
        let call = TaskCall { guest: Arc::clone(guest), function, options: guest.options, logs: None };
        Ok(Self { runtime: Arc::clone(runtime), call })
    }

    /// The task's name, parameters and results.
    pub fn signature(&self) -> &Signature {
        &self.call.guest.guest.tasks()[self.call.function as usize]
    }

    /// The guest of the task.
    pub fn guest(&self) -> &Guest {
        &self.call.guest.guest
    }

    pub(super) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    pub(super) fn options(&mut self) -> &mut TaskOptions {
        &mut self.call.options
    }

    task_settings!(|task| task.call.options);

    /// Returns this task with a reader of what the tasks of its maps log, while they run. The log of each result has it
    /// all again. Of several maps the indices are not told apart.
    #[must_use]
    pub fn follow_logs(mut self) -> (Self, LogReader) {
        let cell = self.call.logs.get_or_insert_default();
        let reader = LogReader(Arc::clone(cell));
        (self, reader)
    }

    /// Submits one call. While the queue is full it waits for room.
    ///
    /// # Errors
    /// If the pool is closed, or the arguments exceed their limit.
    pub fn submit(&self, arguments: impl Into<RawArguments>) -> Result<TaskFuture<Undecoded>, SubmitError> {
        self.submit_as(arguments.into(), true)
    }

    /// Submits one call, unless the queue is full.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`SubmitError::QueueFull`].
    pub fn try_submit(
        &self,
        arguments: impl Into<RawArguments>,
    ) -> Result<TaskFuture<Undecoded>, SubmitError> {
        self.submit_as(arguments.into(), false)
    }

    /// Submits one call; while the queue is full, the future that it returns is pending.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_async(
        &self,
        arguments: impl Into<RawArguments>,
    ) -> Result<TaskFuture<Undecoded>, SubmitError> {
        self.submit_when_room(Arguments::from(arguments.into())).await
    }

    pub(super) async fn submit_when_room<R>(
        &self,
        arguments: Arguments,
    ) -> Result<TaskFuture<R>, SubmitError> {
        let mut arguments = Some(arguments);
        let submit = |context: &mut Context<'_>| {
            let submitted = self.runtime.poll_submit(&self.call, &mut arguments, context.waker());
            submitted.map_or(Poll::Pending, Poll::Ready)
        };
        let (id, cell) = std::future::poll_fn(submit).await?;
        Ok(TaskFuture::new(id, cell, &self.runtime))
    }

    pub(super) fn submit_as<R>(
        &self,
        arguments: impl Into<Arguments>,
        wait: bool,
    ) -> Result<TaskFuture<R>, SubmitError> {
        let (id, cell) = self.runtime.submit(&self.call, arguments.into(), wait, None)?;
        Ok(TaskFuture::new(id, cell, &self.runtime))
    }

    pub(super) fn submit_emitting<R, E>(
        &self,
        arguments: Arguments,
        buffer: EmitBuffer,
    ) -> Result<(TaskFuture<R>, Emitted<E>), SubmitError> {
        let emits = Arc::new(buffer.cell());
        let (id, cell) = self.runtime.submit(&self.call, arguments, true, Some(Arc::clone(&emits)))?;
        Ok((TaskFuture::new(id, cell, &self.runtime), Emitted::new(id, emits, &self.runtime)))
    }

    /// Calls the task for each input, and yields the results in the order of the inputs. An input that is an error runs
    /// no task; its result is [`TaskError::BadArguments`](crate::TaskError::BadArguments) with that error.
    pub fn map<I, A>(&self, inputs: I) -> RawMap<I::IntoIter>
    where
        I: IntoIterator<Item = Result<A, String>>,
        A: Into<RawArguments>,
    {
        self.map_bytes(inputs, true)
    }

    /// Calls the task for each input, and yields the results as they arrive, with the indices of their inputs.
    pub fn imap_unordered<I, A>(&self, inputs: I) -> RawMap<I::IntoIter>
    where
        I: IntoIterator<Item = Result<A, String>>,
        A: Into<RawArguments>,
    {
        self.map_bytes(inputs, false)
    }

    /// As [`map`](Self::map), for inputs that may have to be waited for, such as those of a pipe: one that is
    /// [`Poll::Pending`] is none. The map goes on with its results, and pulls again when the
    /// [waker](RawMap::input_waker) is woken or the next result is asked for.
    pub fn map_polled<I, A>(&self, inputs: I) -> RawMap<I::IntoIter>
    where
        I: IntoIterator<Item = Poll<Result<A, String>>>,
        A: Into<RawArguments>,
    {
        self.map_pollable(inputs.into_iter(), true)
    }

    /// As [`imap_unordered`](Self::imap_unordered), for inputs as those of [`map_polled`](Self::map_polled).
    pub fn imap_unordered_polled<I, A>(&self, inputs: I) -> RawMap<I::IntoIter>
    where
        I: IntoIterator<Item = Poll<Result<A, String>>>,
        A: Into<RawArguments>,
    {
        self.map_pollable(inputs.into_iter(), false)
    }

    fn map_pollable<I, A>(&self, inputs: I, ordered: bool) -> RawMap<I>
    where
        I: Iterator<Item = Poll<Result<A, String>>>,
        A: Into<RawArguments>,
    {
        let append = |input: Poll<Result<A, String>>, out: &mut Vec<u8>| match input {
            Poll::Ready(arguments) => append(arguments, out),
            Poll::Pending => Ok(()),
        };
        RawMap::new(&self.runtime, &self.call, inputs, append, Poll::is_pending, ordered)
    }

    fn map_bytes<I, A>(&self, inputs: I, ordered: bool) -> RawMap<I::IntoIter>
    where
        I: IntoIterator<Item = Result<A, String>>,
        A: Into<RawArguments>,
    {
        self.map_with(inputs.into_iter(), append, ordered)
    }

    pub(super) fn map_with<I: Iterator>(
        &self,
        inputs: I,
        encode: Encode<I::Item>,
        ordered: bool,
    ) -> RawMap<I> {
        RawMap::new(&self.runtime, &self.call, inputs, encode, |_| false, ordered)
    }
}

/// Reads what the running tasks of a map log. Made by [`RawTask::follow_logs`].
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let (square, logs) = pool.raw_task("square")?.follow_logs();
/// std::thread::spawn(move || {
///     while logs.wait(std::time::Duration::MAX) {
///         for part in logs.take() {
///             print!("{}: {}", part.index, String::from_utf8_lossy(&part.bytes));
///         }
///     }
/// });
/// println!("{} results", square.map([Ok(vec![2]), Ok(vec![4])]).count());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct LogReader(Arc<LogCell>);

impl LogReader {
    /// Waits until something has come, at most for `timeout`. Returns whether it has.
    pub fn wait(&self, timeout: Duration) -> bool {
        self.0.wait(Instant::now().checked_add(timeout))
    }

    /// Takes what has come, without waiting. Nothing comes twice; a reader that is too slow misses parts. The parts of a
    /// task are there before its result is.
    pub fn take(&self) -> Vec<LogPart> {
        self.0.take()
    }
}

/// Appends arguments in postcard, and attaches their handles.
fn append<A: Into<RawArguments>>(arguments: Result<A, String>, out: &mut Vec<u8>) -> Result<(), String> {
    let RawArguments { bytes, handles } = arguments?.into();
    out.extend_from_slice(&bytes);
    handles.iter().try_for_each(|handle| wpool_objects::Handle::attach(handle).map(drop))
}

impl fmt::Debug for RawTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawTask").field("name", &self.signature().name()).finish_non_exhaustive()
    }
}
