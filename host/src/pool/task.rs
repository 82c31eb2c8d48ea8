//! [`Task`]: a handle on one of a guest's functions, with its types checked against the guest's description.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::decode::decode;
use super::emitted::{EmitBuffer, Emitted};
use super::future::TaskFuture;
use super::map::Map;
use super::map_future::{self, MapError, MapFuture};
use super::objects::handle::Handle;
use super::raw_task::{RawTask, task_settings};
use crate::error::{ApplyError, SettingError, SubmitError, TaskError, TaskLookupError};
use crate::guest::{Signature, described, fits_parameters, same_type};
use crate::runtime::Arguments;

/// A task that takes `A` and returns `R`.
///
/// `A` is the parameter itself if the task has one, a tuple if it has several, `()` if it has none.
pub struct Task<A, R> {
    raw: RawTask,
    types: PhantomData<fn(A) -> R>,
}

impl<A: Serialize + Schema, R: DeserializeOwned + Schema> Task<A, R> {
    /// The typed handle of a task whose description has these types.
    pub(super) fn new(raw: RawTask) -> Result<Self, TaskLookupError> {
        check::<A, R>(raw.signature())?;
        Ok(Self { raw, types: PhantomData })
    }

    task_settings!(|task| task.raw.options());

    /// Submits one call. While the queue is full it waits for room.
    ///
    /// # Errors
    /// If the pool is closed, or the arguments cannot be encoded or exceed their limit.
    pub fn submit(&self, arguments: &A) -> Result<TaskFuture<R>, SubmitError> {
        self.raw.submit_as(encode(arguments)?, true)
    }

    /// Submits one call; while the queue is full, the future that this returns is pending. It resolves to the task's own
    /// future.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = wpool::Pool::builder(wpool::Guest::from_file("guest.wasm")?).build()?;
    /// let square = pool.task::<i64, i64>("square")?;
    /// assert_eq!(square.submit_async(&7).await?.await?, 49);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub async fn submit_async(&self, arguments: &A) -> Result<TaskFuture<R>, SubmitError> {
        let arguments = encode(arguments)?;
        self.raw.submit_when_room(arguments).await
    }

    /// Submits one call, and returns a reader of the values of type `E` that the task emits while it runs. While the
    /// queue is full it waits for room. A task that has emitted a value is not retried when its worker is ended from
    /// outside.
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

    /// Calls the task for each input, and yields the results in the order of the inputs.
    ///
    /// Work starts with the call. The inputs are pulled on the caller's thread while it asks for results, at most
    /// [`buffer`](Self::buffer) ahead, so an endless input is fine and memory stays bounded. A task that fails yields
    /// its error at its index, and has no effect on the others.
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

    /// As [`map`](Self::map), for inputs that can fail, such as the lines of a file: one that is an error runs no task, and
    /// its result is [`TaskError::BadArguments`] with the text of that error, in its place.
    ///
    /// ```no_run
    /// # let pool = wpool::Pool::builder(wpool::Guest::from_file("guest.wasm")?).build()?;
    /// let square = pool.task::<i64, i64>("square")?;
    /// let results: Vec<_> = square.try_map(["2", "two", "3"].map(str::parse::<i64>)).collect();
    /// assert!(results[0].is_ok() && results[1].is_err() && results[2].is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_map<I, E>(&self, inputs: I) -> Map<I::IntoIter, R>
    where
        I: IntoIterator<Item = Result<A, E>>,
        E: fmt::Display,
    {
        let append =
            |input: Result<A, E>, out: &mut Vec<u8>| append(input.map_err(|error| error.to_string())?, out);
        Map::new(self.raw.map_with(inputs.into_iter(), append, true))
    }

    /// The same as [`map`](Self::map), under the name that Python's pools have for it: results arrive one by one, in
    /// order, as they are asked for.
    pub fn imap<I: IntoIterator<Item = A>>(&self, inputs: I) -> Map<I::IntoIter, R> {
        self.map(inputs)
    }

    /// The same as [`map`](Self::map), under the name that Python's pools have for inputs that are tuples of arguments:
    /// here every map of a task with several parameters takes those.
    pub fn starmap<I: IntoIterator<Item = A>>(&self, inputs: I) -> Map<I::IntoIter, R> {
        self.map(inputs)
    }

    /// Calls the task for each input, waits until all tasks have ended, and returns their values in the order of the
    /// inputs.
    ///
    /// # Errors
    /// The first error in that order, when all tasks have ended.
    pub fn map_list<I: IntoIterator<Item = A>>(&self, inputs: I) -> Result<Vec<R>, MapError> {
        let map = self.raw.map_with(inputs.into_iter(), append, true);
        map_future::decode_all(map.map(|(_, completed)| completed), decode)
    }

    /// Submits one call, waits for its end and returns its value.
    ///
    /// # Errors
    /// If the call cannot be submitted, or the task fails.
    pub fn apply(&self, arguments: &A) -> Result<R, ApplyError> {
        Ok(self.submit(arguments)?.result()?)
    }

    /// Calls the task for each input, and yields the results as they arrive.
    pub fn imap_unordered<I: IntoIterator<Item = A>>(&self, inputs: I) -> Map<I::IntoIter, R> {
        Map::new(self.raw.map_with(inputs.into_iter(), append, false))
    }
}

impl<A, R> Task<A, R>
where
    A: Serialize + Schema,
    R: DeserializeOwned + Schema + Send + Sync + 'static,
{
    /// Submits one call. When the task has ended the callback thread calls `callback` with its value, or
    /// `error_callback` with its error.
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
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

    /// Submits a call for each input, and returns at once. When all tasks have ended the callback thread calls
    /// `callback` once, with all values in the order of the inputs or with the first error. The inputs are pulled
    /// within this call, so they must be finite.
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
        self.raw.runtime().start_callbacks();
        let (future, complete) = MapFuture::new(callback);
        let mut map = self.raw.map_with(inputs.into_iter(), append, true);
        map.pull_all();
        map.gather(Box::new(complete));
        future
    }

    /// The same as [`map_async`](Self::map_async), under the name that Python's pools have for inputs that are tuples
    /// of arguments.
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
    let (bytes, handles) = <Handle as wpool_objects::Handle>::attaching(|| postcard::to_allocvec(arguments));
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
