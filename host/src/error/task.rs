//! The errors of a task: every way in which it can end without a value.

use std::fmt;
use std::time::Duration;

use wpool_wire::limits::Capability;
use wpool_wire::trap::Trap;

use super::guest::{Frame, GuestError};
use super::map_end::MapEnd;
use super::worker_exit::WorkerExit;

/// Why a task has no value.
///
/// Every submitted task ends exactly once, with its value or with one of these errors.
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// use wpool::TaskError;
/// let square = pool.task::<i64, i64>("square")?;
/// match square.submit(&3)?.result() {
///     Ok(value) => println!("{value}"),
///     Err(TaskError::Guest(error)) => println!("it returned an error: {error}"),
///     Err(TaskError::Timeout { limit, .. }) => println!("it took longer than {limit:?}"),
///     Err(error) if error.is_retryable() => println!("submit it again: {error}"),
///     Err(error) => println!("{}: {error}", error.kind()),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The task returned an error of its own.
    #[error("{0}")]
    Guest(GuestError),
    /// The task panicked.
    #[error("panicked at {location}: {message}")]
    Panic {
        /// The message of the panic.
        message: String,
        /// File, line and column in the guest's source, as the guest reports them.
        location: String,
    },
    /// The task executed an instruction that traps, such as a division by zero.
    #[error("{trap}")]
    Trap {
        /// The kind of trap.
        trap: Trap,
        /// The guest's functions, innermost first. At most 16.
        backtrace: Vec<Frame>,
    },
    /// The task ended with an exit code instead of a value: it called `wpool_guest::exit`, or `exit` of WASI.
    #[error("exited with code {code}")]
    Exited {
        /// The exit code.
        code: i32,
    },
    /// A timeout expired.
    #[error("timed out: {clock} longer than {limit:?}")]
    Timeout {
        /// The clock that was limited.
        clock: Clock,
        /// The timeout.
        limit: Duration,
    },
    /// A map ended before its input was at its end. It stands after the results of the inputs that were pulled, and belongs
    /// to none of them.
    #[error("the map ended early, {end}: {pulled} inputs were pulled")]
    MapEnded {
        /// Why it ended.
        end: MapEnd,
        /// The number of inputs that were pulled, each of which has a result.
        pulled: u64,
    },
    /// The task used all its fuel.
    #[error("out of fuel: used all {limit} units")]
    OutOfFuel {
        /// The limit, in units of fuel.
        limit: u64,
    },
    /// The task asked for more memory than its limit.
    #[error("memory limit: asked for {asked} bytes, {limit} are allowed")]
    MemoryLimit {
        /// The limit, in bytes.
        limit: u64,
        /// The size that the memory would have had, in bytes.
        asked: u64,
    },
    /// The task asked for a larger table than its limit.
    #[error("table limit: asked for {asked} elements, {limit} are allowed")]
    TableLimit {
        /// The limit, in elements.
        limit: u64,
        /// The size that the table would have had, in elements.
        asked: u64,
    },
    /// The result, or the error that the task returned, is larger than its limit.
    #[error("output limit: the result has {size} bytes, {limit} are allowed")]
    OutputLimit {
        /// The limit, in bytes.
        limit: u64,
        /// The size, in bytes.
        size: u64,
    },
    /// The task emitted a value that is larger than its limit.
    #[error("emit limit: a value has {size} bytes, {limit} are allowed")]
    EmitLimit {
        /// The limit, in bytes.
        limit: u64,
        /// The size, in bytes.
        size: u64,
    },
    /// The task used what a policy of its guest denies.
    #[error("denied: {capability} are denied by the policy `{}` of the guest", capability.name())]
    Denied {
        /// The capability that it used.
        capability: Capability,
    },
    /// The result does not have the type that the guest has described.
    #[error("bad result: {message}")]
    BadResult {
        /// The first mistake in it.
        message: String,
    },
    /// The arguments could not be encoded, exceed their limit, or could not be read by the guest.
    #[error("bad arguments: {message}")]
    BadArguments {
        /// The first mistake in them.
        message: String,
    },
    /// The guest violated the ABI.
    #[error("the guest broke its interface: {message}")]
    BadGuest {
        /// How.
        message: String,
    },
    /// The task was cancelled before it started. None of its code ran.
    #[error("cancelled before it started")]
    Cancelled,
    /// The task had started, and was ended by [`kill`](crate::TaskFuture::kill).
    #[error("killed")]
    Killed,
    /// The worker ended while it had the task.
    #[error("worker lost: {cause} while the task was {phase}{}", earlier_exits(earlier))]
    WorkerLost {
        /// How the process ended.
        cause: WorkerExit,
        /// The state of the task at that moment.
        phase: Phase,
        /// How the workers ended in which the task ran before, oldest first. Empty if it ran in none.
        earlier: Vec<WorkerExit>,
    },
    /// No worker could be started to run the task.
    #[error("no worker could be started: {message}")]
    NoWorker {
        /// The error of the last attempt.
        message: String,
    },
    /// The pool was terminated before the task ended.
    #[error("the pool was terminated")]
    PoolClosed,
    /// The task's guest was unloaded from the pool before the task was submitted.
    #[error("the guest was unloaded")]
    GuestUnloaded,
}

fn earlier_exits(earlier: &[WorkerExit]) -> String {
    match earlier.len() {
        0 => String::new(),
        1 => ", as once before".to_owned(),
        many => format!(", as {many} times before"),
    }
}

impl TaskError {
    /// Returns the name of the variant in snake case, as it stands in JSON.
    pub fn kind(&self) -> &'static str {
        match self {
            TaskError::Guest(_) => "guest",
            TaskError::Panic { .. } => "panic",
            TaskError::Trap { .. } => "trap",
            TaskError::Exited { .. } => "exited",
            TaskError::Timeout { .. } => "timeout",
            TaskError::MapEnded { .. } => "map_ended",
            TaskError::OutOfFuel { .. } => "out_of_fuel",
            TaskError::MemoryLimit { .. } => "memory_limit",
            TaskError::TableLimit { .. } => "table_limit",
            TaskError::OutputLimit { .. } => "output_limit",
            TaskError::EmitLimit { .. } => "emit_limit",
            TaskError::Denied { .. } => "denied",
            TaskError::BadResult { .. } => "bad_result",
            TaskError::BadArguments { .. } => "bad_arguments",
            TaskError::BadGuest { .. } => "bad_guest",
            TaskError::Cancelled => "cancelled",
            TaskError::WorkerLost { .. } => "worker_lost",
            TaskError::NoWorker { .. } => "no_worker",
            TaskError::PoolClosed => "pool_closed",
            TaskError::Killed => "killed",
            TaskError::GuestUnloaded => "guest_unloaded",
        }
    }

    /// Returns whether the guest's code is to blame: with the same input it would most likely fail again.
    ///
    /// A worker that was lost is the guest's fault unless its end [is external](WorkerExit::is_external).
    pub fn is_guest_fault(&self) -> bool {
        match self {
            TaskError::Guest(_)
            | TaskError::Panic { .. }
            | TaskError::Trap { .. }
            | TaskError::Exited { .. }
            | TaskError::Timeout { clock: Clock::Run, .. }
            | TaskError::OutOfFuel { .. }
            | TaskError::MemoryLimit { .. }
            | TaskError::TableLimit { .. }
            | TaskError::OutputLimit { .. }
            | TaskError::EmitLimit { .. }
            | TaskError::Denied { .. }
            | TaskError::BadResult { .. }
            | TaskError::BadArguments { .. }
            | TaskError::BadGuest { .. } => true,
            TaskError::WorkerLost { cause, .. } => !cause.is_external(),
            TaskError::Timeout { .. }
            | TaskError::MapEnded { .. }
            | TaskError::Cancelled
            | TaskError::Killed
            | TaskError::NoWorker { .. }
            | TaskError::PoolClosed
            | TaskError::GuestUnloaded => false,
        }
    }

    /// Returns whether the same task may succeed if it is submitted again: after a timeout, if no worker could be
    /// started, and if the worker's end [is external](WorkerExit::is_external).
    pub fn is_retryable(&self) -> bool {
        match self {
            TaskError::WorkerLost { cause, .. } => cause.is_external(),
            TaskError::NoWorker { .. }
            | TaskError::Timeout { .. }
            | TaskError::MapEnded { end: MapEnd::Timeout(_), .. } => true,
            _ => false,
        }
    }
}

/// The clocks of a task, each of which can have a timeout.
///
/// ```
/// assert_eq!(wpool::Clock::Queue.name(), "queue");
/// assert_eq!(format!("{} too long", wpool::Clock::Run), "ran too long");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// The time from submission to the start.
    Queue,
    /// The time that the task ran. Sleeping counts; waiting for objects, sub-tasks and readers does not.
    Run,
    /// The time from submission to the end.
    Total,
}

impl Clock {
    /// Returns the name of the clock in lower case, as it stands in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Clock::Queue => "queue",
            Clock::Run => "run",
            Clock::Total => "total",
        }
    }
}

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clock::Queue => f.write_str("waited"),
            Clock::Run => f.write_str("ran"),
            Clock::Total => f.write_str("took"),
        }
    }
}

/// The state of a task when its worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The task was sent to the worker and had not started.
    Queued,
    /// The task was running.
    Running,
    /// The task had started and was waiting, or it had ended and its result had not arrived.
    Suspended,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Phase::Queued => "on its way",
            Phase::Running => "running",
            Phase::Suspended => "suspended",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_was_killed_from_outside_is_not_the_guests_fault() {
        let outside = WorkerExit::Signal { signal: 9, by_pool: false };
        let crash = WorkerExit::Signal { signal: 11, by_pool: false };
        let lost = |cause| TaskError::WorkerLost { cause, phase: Phase::Running, earlier: Vec::new() };
        assert!(lost(outside.clone()).is_retryable() && !lost(outside).is_guest_fault());
        assert!(!lost(crash.clone()).is_retryable() && lost(crash).is_guest_fault());
    }

    #[test]
    fn messages_are_fragments_in_lower_case() {
        let error = TaskError::WorkerLost {
            cause: WorkerExit::Signal { signal: 11, by_pool: false },
            phase: Phase::Running,
            earlier: Vec::new(),
        };
        assert_eq!(error.to_string(), "worker lost: it was ended by SIGSEGV while the task was running");
    }
}
