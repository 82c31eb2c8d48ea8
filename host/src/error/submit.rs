//! The errors of finding a task and of submitting it.

use super::build::BuildError;
use super::task::TaskError;

/// Why a handle on a task could not be made.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// if let Err(error) = pool.task::<i64, i64>("sqare") {
///     println!("{error}"); // the guest has no task `sqare`; did you mean `square`?
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TaskLookupError {
    /// The guest has no task of this name.
    #[error("the guest has no task `{name}`{}", suggestion(.nearest, .tasks))]
    UnknownTask {
        /// The name that was asked for.
        name: String,
        /// The most similar name. `None` if no name is similar.
        nearest: Option<String>,
        /// The names of all tasks.
        tasks: Vec<String>,
    },
    /// The task takes or returns another type.
    #[error("task `{task}` {what} `{expected}`, not `{found}`")]
    TypeMismatch {
        /// The name of the task.
        task: String,
        /// Which type differs: "takes" or "returns".
        what: &'static str,
        /// The type in the guest's description.
        expected: String,
        /// The type that was asked for.
        found: String,
    },
}

fn suggestion(nearest: &Option<String>, tasks: &[String]) -> String {
    match nearest {
        Some(name) => format!("; did you mean `{name}`?"),
        None if tasks.is_empty() => "; it has none".to_owned(),
        None => format!(
            "; it has {}",
            tasks.iter().map(|task| format!("`{task}`")).collect::<Vec<_>>().join(", ")
        ),
    }
}

/// Why a task could not be submitted.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let square = pool.task::<i64, i64>("square")?;
/// match square.try_submit(&3) {
///     Ok(future) => println!("{}", future.result()?),
///     Err(wpool::SubmitError::QueueFull { limit }) => println!("{limit} tasks wait already"),
///     Err(error) => return Err(error.into()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The pool is closed and accepts no more tasks.
    #[error("the pool is closed: {by} was called")]
    Closed {
        /// The function that closed it.
        by: &'static str,
    },
    /// The queue is full. Only `try_submit` returns this; `submit` waits instead.
    #[error("the queue is full: {limit} tasks wait")]
    QueueFull {
        /// The number of tasks that may wait.
        limit: usize,
    },
    /// The arguments could not be encoded.
    #[error("the arguments cannot be encoded: {message}")]
    Encode {
        /// The encoder's message.
        message: String,
    },
    /// The arguments are larger than [`Limits`](crate::Limits) allow.
    #[error("the arguments have {size} bytes, {limit} are allowed")]
    TooLarge {
        /// The size of the arguments, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
}

/// Why a process could not be started for a task.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The process could not be set up.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The guest has no such task.
    #[error(transparent)]
    Lookup(#[from] TaskLookupError),
    /// The task could not be submitted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// Why a call that waits for its result has none.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// match pool.task::<(i64, i64), i64>("divide")?.apply(&(1, 0)) {
///     Ok(value) => println!("{value}"),
///     Err(wpool::ApplyError::Task(error)) => println!("it ran, and failed: {error}"),
///     Err(error) => println!("it never ran: {error}"),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The task could not be submitted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// The task was submitted, and failed.
    #[error(transparent)]
    Task(#[from] TaskError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_task_suggests_the_nearest_name() {
        let unknown = TaskLookupError::UnknownTask {
            name: "sqare".into(),
            nearest: Some("square".into()),
            tasks: vec!["square".into()],
        };
        assert_eq!(unknown.to_string(), "the guest has no task `sqare`; did you mean `square`?");
    }
}
