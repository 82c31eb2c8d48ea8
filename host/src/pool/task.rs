//! Handles on a guest's tasks: typed ones, checked against the guest's description, and raw ones.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::emitted::{EmitBuffer, Emitted};
use super::future::{TaskFuture, Undecoded};
use super::map::{Encode, Map, RawMap};
use super::map_future::{self, MapError, MapFuture};
use super::objects::handle::Handle;
use crate::error::{ApplyError, SettingError, SubmitError, TaskError, TaskLookupError};
use crate::guest::{Guest, Signature, described, fits_parameters, same_type};
use crate::runtime::{Arguments, PoolGuest, Runtime, TaskCall};

/// A task whose arguments and results are bytes in postcard.
///
/// [`Signature`] makes them from JSON and turns them back. For Rust types there is [`Task`].
#[derive(Clone)]
pub struct RawTask {
    runtime: Arc<Runtime>,
    call: TaskCall,
}

/// Arguments of one call: bytes in postcard, and the handles on shared objects in them.
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

/// Settings of a handle, for the raw and the typed one.
macro_rules! task_settings {
    (|$task:ident| $options:expr) => {
        /// How long a task may run; that it waits does not count. Default: as the guest's. `None` is for ever.
        #[must_use]
        pub fn timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
            let mut $task = self;
            $options.run_timeout = timeout.into();
            $task
        }

        /// How long a task may wait before it begins. Default: as the guest's. `None` is for ever.
        #[must_use]
        pub fn queue_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
            let mut $task = self;
            $options.queue_timeout = timeout.into();
            $task
        }

        /// How long a task may take from being submitted to its end. Default: as the guest's. `None` is for ever.
        #[must_use]
        pub fn total_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
            let mut $task = self;
            $options.total_timeout = timeout.into();
            $task
        }

        /// How long a map may take as a whole, from the call on. When it is over no more inputs are pulled, and
        /// tasks that have not ended fail with [`TaskError::Timeout`](crate::TaskError::Timeout). Default: `None`,
        /// for ever.
        #[must_use]
        pub fn map_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
            let mut $task = self;
            $options.map_timeout = timeout.into();
            $task
        }

        /// Tasks of higher priority go before others of the same guest that wait. Default: 0.
        #[must_use]
        pub fn priority(self, priority: i32) -> Self {
            let mut $task = self;
            $options.priority = priority;
            $task
        }

        /// How often a task runs again whose worker was ended from outside. Default: as the guest's.
        #[must_use]
        pub fn retries(self, retries: u8) -> Self {
            let mut $task = self;
            $options.max_retries = retries;
            $task
        }

        /// How many inputs of a map a worker gets at a time; that changes its speed and nothing else. More than 256
        /// count as 256. Default: `None`, and the pool measures what is best.
        ///
        /// # Errors
        /// If it is zero.
        pub fn chunk(self, tasks: impl Into<Option<u32>>) -> Result<Self, SettingError> {
            let mut $task = self;
            $options.chunk = tasks.into();
            if $options.chunk == Some(0) {
                return Err(SettingError::new("chunk", &0, "no task would ever be sent"));
            }
            Ok($task)
        }

        /// How many inputs a map pulls before their results are taken. Default: `None`, which is 8192.
        ///
        /// # Errors
        /// If it is zero.
        pub fn buffer(self, inputs: impl Into<Option<usize>>) -> Result<Self, SettingError> {
            let mut $task = self;
            $options.buffer = inputs.into();
            if $options.buffer == Some(0) {
                return Err(SettingError::new("buffer", &0, "no input would ever be pulled"));
            }
            Ok($task)
        }
    };
}

impl RawTask {
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        guest: &Arc<PoolGuest>,
        name: &str,
    ) -> Result<Self, TaskLookupError> {
        let function = guest.guest.function(name)?;
        let call = TaskCall { guest: Arc::clone(guest), function, options: guest.options };
        Ok(Self { runtime: Arc::clone(runtime), call })
    }

    /// The task's name, parameters and results.
    pub fn signature(&self) -> &Signature {
        &self.call.guest.guest.tasks()[self.call.function as usize]
    }

    /// The guest that the task is of.
    pub fn guest(&self) -> &Guest {
        &self.call.guest.guest
    }

    task_settings!(|task| task.call.options);

    /// Submits one call. While the queue is full, it waits.
    ///
    /// # Errors
    /// If the pool is closed, or the arguments are larger than they may be.
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

    fn submit_as<R>(
        &self,
        arguments: impl Into<Arguments>,
        wait: bool,
    ) -> Result<TaskFuture<R>, SubmitError> {
        let (id, cell) = self.runtime.submit(&self.call, arguments.into(), wait, None)?;
        Ok(TaskFuture::new(id, cell, &self.runtime))
    }

    fn submit_emitting<R, E>(
        &self,
        arguments: Arguments,
        buffer: EmitBuffer,
    ) -> Result<(TaskFuture<R>, Emitted<E>), SubmitError> {
        let emits = Arc::new(buffer.cell());
        let (id, cell) = self.runtime.submit(&self.call, arguments, true, Some(Arc::clone(&emits)))?;
        Ok((TaskFuture::new(id, cell, &self.runtime), Emitted::new(id, emits, &self.runtime)))
    }

    /// Calls the task for each input, and gives the results in the order of the inputs. An input that is
    /// an error is that place's error, and nothing runs for it.
    pub fn map<I, A>(&self, inputs: I) -> RawMap<I::IntoIter>
    where
        I: IntoIterator<Item = Result<A, String>>,
        A: Into<RawArguments>,
    {
        self.map_bytes(inputs, true)
    }

    /// Calls the task for each input, and gives the results as they come, with the places of their inputs.
    pub fn imap_unordered<I, A>(&self, inputs: I) -> RawMap<I::IntoIter>
    where
        I: IntoIterator<Item = Result<A, String>>,
        A: Into<RawArguments>,
    {
        self.map_bytes(inputs, false)
    }

    fn map_bytes<I, A>(&self, inputs: I, ordered: bool) -> RawMap<I::IntoIter>
    where
        I: IntoIterator<Item = Result<A, String>>,
        A: Into<RawArguments>,
    {
        let append = |arguments: Result<A, String>, out: &mut Vec<u8>| {
            let RawArguments { bytes, handles } = arguments?.into();
            out.extend_from_slice(&bytes);
            handles.iter().try_for_each(|handle| wpool_objects::Handle::send(handle).map(drop))
        };
        self.map_with(inputs.into_iter(), append, ordered)
    }

    fn map_with<I: Iterator>(&self, inputs: I, encode: Encode<I::Item>, ordered: bool) -> RawMap<I> {
        RawMap::new(&self.runtime, &self.call, inputs, encode, ordered)
    }
}

impl fmt::Debug for RawTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawTask").field("name", &self.signature().name()).finish_non_exhaustive()
    }
}

/// A task that takes `A` and returns `R`.
///
/// `A` is the parameter itself if the task has one, a tuple if it has several, `()` if it has none.
pub struct Task<A, R> {
    raw: RawTask,
    types: PhantomData<fn(A) -> R>,
}

impl<A: Serialize + Schema, R: DeserializeOwned + Schema> Task<A, R> {
    /// Takes the task if its description has these types.
    pub(super) fn new(raw: RawTask) -> Result<Self, TaskLookupError> {
        check::<A, R>(raw.signature())?;
        Ok(Self { raw, types: PhantomData })
    }

    task_settings!(|task| task.raw.call.options);

    /// Submits one call. While the queue is full, it waits.
    ///
    /// # Errors
    /// If the pool is closed, or the arguments cannot be encoded or are larger than they may be.
    pub fn submit(&self, arguments: &A) -> Result<TaskFuture<R>, SubmitError> {
        self.raw.submit_as(encode(arguments)?, true)
    }

    /// Submits one call, and reads the values of type `E` that the task emits while it runs. While the queue is full,
    /// it waits. Such a task does not run again if its worker is ended from outside after it has emitted something.
    ///
    /// ```no_run
    /// use wpool::EmitBuffer;
    /// # let guest = wpool::Guest::from_file("guest.wasm")?;
    /// # let pool = wpool::Pool::builder(guest).build()?;
    /// let count = pool.task::<u64, u64>("count")?;
    /// let (future, progress) = count.submit_emitting::<u64>(&1_000, EmitBuffer::default())?;
    /// for reached in progress {
    ///     println!("{}", reached?);
    /// }
    /// println!("{}", future.result()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn submit_emitting<E: DeserializeOwned + Schema>(
        &self,
        arguments: &A,
        buffer: EmitBuffer,
    ) -> Result<(TaskFuture<R>, Emitted<E>), SubmitError> {
        self.raw.submit_emitting(encode(arguments)?, buffer)
    }

    /// Submits one call, unless the queue is full.
    ///
    /// # Errors
    /// As [`submit`](Self::submit), and [`SubmitError::QueueFull`].
    pub fn try_submit(&self, arguments: &A) -> Result<TaskFuture<R>, SubmitError> {
        self.raw.submit_as(encode(arguments)?, false)
    }

    /// Calls the task for each input, and gives the results in the order of the inputs.
    ///
    /// Work begins with the call. The inputs are pulled on the caller's thread while it asks for results,
    /// at most [`buffer`](Self::buffer) ahead, so an endless input is fine and memory stays bounded. One
    /// input's error is that place's error; the others are not touched by it.
    ///
    /// ```no_run
    /// # let guest = wpool::Guest::from_file("guest.wasm")?;
    /// # let pool = wpool::Pool::builder(guest).build()?;
    /// let square = pool.task::<i64, i64>("square")?;
    /// for result in square.map(0..1_000_000) {
    ///     println!("{}", result?);
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map<I: IntoIterator<Item = A>>(&self, inputs: I) -> Map<I::IntoIter, R> {
        Map::new(self.raw.map_with(inputs.into_iter(), append, true))
    }

    /// The same as [`map`](Self::map), for those who know the name from Python's pools: the results come one by one,
    /// in order, as they are asked for.
    pub fn imap<I: IntoIterator<Item = A>>(&self, inputs: I) -> Map<I::IntoIter, R> {
        self.map(inputs)
    }

    /// The same as [`map`](Self::map), for those who know the name: an input is a tuple of arguments in every map of a
    /// task with several parameters.
    pub fn starmap<I: IntoIterator<Item = A>>(&self, inputs: I) -> Map<I::IntoIter, R> {
        self.map(inputs)
    }

    /// Calls the task for each input, waits until all have ended, and returns their values in the order of the
    /// inputs.
    ///
    /// # Errors
    /// The first error in that order, when all have ended.
    pub fn map_list<I: IntoIterator<Item = A>>(&self, inputs: I) -> Result<Vec<R>, MapError> {
        let map = self.raw.map_with(inputs.into_iter(), append, true);
        let runtime = Arc::downgrade(map.runtime());
        map_future::all(map.map(|(_, completed)| completed), &runtime)
    }

    /// Calls the task and waits for its value.
    ///
    /// # Errors
    /// Why it could not be submitted, or has no value.
    pub fn apply(&self, arguments: &A) -> Result<R, ApplyError> {
        Ok(self.submit(arguments)?.result()?)
    }

    /// Calls the task for each input, and gives the results as they come.
    pub fn imap_unordered<I: IntoIterator<Item = A>>(&self, inputs: I) -> Map<I::IntoIter, R> {
        Map::new(self.raw.map_with(inputs.into_iter(), append, false))
    }
}

impl<A, R> Task<A, R>
where
    A: Serialize + Schema,
    R: DeserializeOwned + Schema + Send + Sync + 'static,
{
    /// Submits one call, and has `callback` called with its value, or `error_callback` with why it has none, on the
    /// pool's thread for callbacks.
    ///
    /// # Errors
    /// If the pool is closed, or the arguments cannot be encoded or are larger than they may be.
    pub fn apply_async(
        &self,
        arguments: &A,
        callback: impl FnOnce(R) + Send + 'static,
        error_callback: impl FnOnce(TaskError) + Send + 'static,
    ) -> Result<TaskFuture<R>, SubmitError> {
        let future = self.submit(arguments)?;
        future.add_done_callback(|future| match future.result() {
            Ok(value) => callback(value),
            Err(error) => error_callback(error),
        });
        Ok(future)
    }

    /// Submits a call for each input, and returns at once. When all have ended `callback` is called once, with all
    /// values in the order of the inputs, or with the first error. The inputs are pulled here and now, so they must
    /// have an end.
    ///
    /// ```no_run
    /// # let guest = wpool::Guest::from_file("guest.wasm")?;
    /// # let pool = wpool::Pool::builder(guest).build()?;
    /// let square = pool.task::<i64, i64>("square")?;
    /// let all = square.map_async(0..10, |values| println!("{values:?}"));
    /// assert_eq!(all.get()?.len(), 10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn map_async<I: IntoIterator<Item = A>>(
        &self,
        inputs: I,
        callback: impl FnOnce(&Result<Vec<R>, MapError>) + Send + 'static,
    ) -> MapFuture<R> {
        self.raw.runtime.start_callbacks();
        let (future, complete) = MapFuture::new(&Arc::downgrade(&self.raw.runtime), callback);
        let mut map = self.raw.map_with(inputs.into_iter(), append, true);
        map.pull_all();
        map.gather(Box::new(complete));
        future
    }

    /// The same as [`map_async`](Self::map_async), for those who know the name: an input is a tuple of arguments.
    pub fn starmap_async<I: IntoIterator<Item = A>>(
        &self,
        inputs: I,
        callback: impl FnOnce(&Result<Vec<R>, MapError>) + Send + 'static,
    ) -> MapFuture<R> {
        self.map_async(inputs, callback)
    }
}

impl<A, R> Clone for Task<A, R> {
    fn clone(&self) -> Self {
        Self { raw: self.raw.clone(), types: PhantomData }
    }
}

impl<A, R> fmt::Debug for Task<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.raw.fmt(f)
    }
}

fn encode<A: Serialize>(arguments: &A) -> Result<Arguments, SubmitError> {
    let (bytes, handles) = <Handle as wpool_objects::Handle>::sending(|| postcard::to_allocvec(arguments));
    let bytes = bytes.map_err(|error| SubmitError::Encode { message: error.to_string() })?;
    Ok(Arguments { bytes, grants: handles.iter().map(Handle::to_grant).collect() })
}

fn append<A: Serialize>(arguments: A, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    match postcard::to_extend(&arguments, Appending(out)) {
        Ok(_) => Ok(()),
        Err(error) => {
            out.truncate(start);
            Err(format!("the arguments cannot be encoded: {error}"))
        }
    }
}

/// Lets postcard append to a buffer that it does not own.
struct Appending<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appending<'_> {
    fn extend<T: IntoIterator<Item = u8>>(&mut self, bytes: T) {
        self.0.extend(bytes);
    }
}

/// Compares the types that a program uses with those that the guest has described.
fn check<A: Schema, R: Schema>(signature: &Signature) -> Result<(), TaskLookupError> {
    let mismatch = |what, expected: String, found: String| TaskLookupError::TypeMismatch {
        task: signature.name().to_owned(),
        what,
        expected,
        found,
    };
    fits_parameters::<A>(signature).map_err(|(expected, found)| mismatch("takes", expected, found))?;
    let (returns, returns_root) = described::<R>();
    if !same_type(signature.types(), signature.returns_index(), &returns, returns_root) {
        return Err(mismatch("returns", signature.returns(), returns.name(returns.get(returns_root))));
    }
    Ok(())
}
