//! The requests of a running task: to emit a value, and to run another task.

use std::fmt;
use std::marker::PhantomData;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use wpool_abi::object::Item;
use wpool_abi::{SubTaskFailure, SubTaskOutcome, WorkerInfo};
use wpool_objects::Handle as _;
use wpool_schema::Schema;

use crate::host;
use crate::objects::Handle;

/// Emits a value to the host before the task ends: its progress, or a partial result. Without a reader on the host the
/// value is dropped. If the reader wants all values and is slow, the task waits. A value has at most 1 MiB in postcard.
/// Natively, in a test, nothing happens.
///
/// ```
/// #[wpool_guest::task]
/// fn count(to: u64) -> u64 {
///     (1..=to).inspect(wpool_guest::emit).sum()
/// }
/// # fn main() { assert_eq!(count(4), 10); }
/// ```
///
/// # Panics
/// If serde cannot write the value.
pub fn emit<T: Serialize + Schema + ?Sized>(value: &T) {
    let bytes = encode(value, "an emitted value");
    host::emit(wpool_schema::fingerprint::<T>(), &bytes);
}

/// Returns the worker that runs this task: its name and process id, and the process id of the host's program. `None` if
/// the host does not show them (`GuestSettings::worker_info`), in an initializer, and natively, in a test.
///
/// ```
/// #[wpool_guest::task]
/// fn greet() -> String {
///     match wpool_guest::worker() {
///         Some(worker) => format!("hello from {} of {}", worker.pid, worker.parent_pid),
///         None => "hello from somewhere".to_owned(),
///     }
/// }
/// # fn main() { assert_eq!(greet(), "hello from somewhere"); }
/// ```
pub fn worker() -> Option<WorkerInfo> {
    postcard::from_bytes(&host::worker()).ok().flatten()
}

/// Submits a task of this guest as a sub-task, which runs concurrently in an instance of its own, on any free worker.
/// The arguments are the parameter itself if the task has one, a tuple if it has several, `()` if it has none. Returns
/// at once; an error is returned by [`SubTask::result`].
///
/// The host must allow sub-tasks (`GuestSettings::sub_tasks`). When this task ends, its sub-tasks that have not ended
/// are killed.
///
/// ```
/// use wpool_guest::{SubTaskError, submit};
///
/// #[wpool_guest::task]
/// fn fibonacci(n: u32) -> Result<u64, SubTaskError> {
///     if n < 2 {
///         return Ok(n.into());
///     }
///     let (left, right) = (submit::<u64>("fibonacci", &(n - 1)), submit::<u64>("fibonacci", &(n - 2)));
///     Ok(left.result()? + right.result()?)
/// }
/// # fn main() { assert!(fibonacci(1).is_ok() && fibonacci(2).is_err(), "natively there is no pool"); }
/// ```
///
/// # Panics
/// If serde cannot write the arguments.
pub fn submit<R: DeserializeOwned + Schema>(
    task: &str,
    arguments: &(impl Serialize + Schema + ?Sized),
) -> SubTask<R> {
    let (bytes, handles) = Handle::attaching(|| encode(arguments, "the arguments of a sub-task"));
    let indices = handles.iter().flat_map(|handle| handle.wire_index().to_le_bytes());
    let block: Vec<u8> = indices.chain(bytes).collect();
    let (takes, returns) = (fingerprint_of(arguments), wpool_schema::fingerprint::<R>());
    SubTask { id: host::submit(task, takes, returns, &block, handles.len()), value: PhantomData }
}

fn fingerprint_of<T: Schema + ?Sized>(_: &T) -> u64 {
    wpool_schema::fingerprint::<T>()
}

fn encode(value: &(impl Serialize + ?Sized), what: &str) -> Vec<u8> {
    postcard::to_allocvec(value).unwrap_or_else(|error| panic!("{what} cannot be encoded: {error}"))
}

/// A task that this task has submitted.
#[derive(Debug)]
#[must_use = "when this task ends, a sub-task that has not is killed"]
pub struct SubTask<R> {
    id: u32,
    value: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> SubTask<R> {
    /// Waits for the end of the sub-task, and returns its value. The waiting time does not count as running time.
    ///
    /// # Errors
    /// The sub-task's own error, the way it ended, or the reason why it was not submitted.
    pub fn result(self) -> Result<R, SubTaskError> {
        let malformed = |message: String| {
            SubTaskError(SubTaskFailure { kind: "bad_result".to_owned(), message, value: None })
        };
        match postcard::from_bytes(&host::outcome(self.id)) {
            Ok(SubTaskOutcome::Value(Item { bytes, handles })) => {
                let handles = handles.into_iter().map(Handle::from_index).collect();
                Handle::resolving(handles, || postcard::from_bytes(&bytes))
                    .map_err(|error| malformed(error.to_string()))
            }
            Ok(SubTaskOutcome::Failed(failure)) => Err(SubTaskError(failure)),
            Err(error) => Err(malformed(error.to_string())),
        }
    }
}

/// Why a sub-task has no value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTaskError(SubTaskFailure);

impl SubTaskError {
    /// Returns a short name in snake case: `guest` for an error of its own, `panic`, `trap`, `timeout`, `cancelled` …,
    /// or the reason why it was not submitted: `not_allowed`, `quota`, `unknown_task`, `wrong_type`.
    pub fn kind(&self) -> &str {
        &self.0.kind
    }

    /// Returns the reason as text.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the sub-task's own error, or `None` if it had none or one of another type.
    pub fn decode<E: DeserializeOwned>(&self) -> Option<E> {
        postcard::from_bytes(self.0.value.as_deref()?).ok()
    }
}

impl fmt::Display for SubTaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for SubTaskError {}

/// As it is encoded: the failure itself.
impl Schema for SubTaskError {
    fn describe(types: &mut wpool_schema::TypeTable) -> wpool_abi::TypeIndex {
        types.named::<Self>(|types| wpool_abi::Type::Struct {
            name: "SubTaskError".to_owned(),
            fields: vec![
                wpool_schema::field::<String>(types, "kind", "A short name in snake case."),
                wpool_schema::field::<String>(types, "message", "The reason as text."),
                wpool_schema::field::<Option<Vec<u8>>>(types, "value", "The sub-task's own error."),
            ],
        })
    }
}
