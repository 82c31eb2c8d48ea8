//! Everything that can go wrong, one small enum per operation.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;

use wpool_wire::trap::Trap;

/// Why a task has no value.
///
/// Every task that was submitted ends exactly once, with its value or with one of these.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// The task returned an error of its own.
    #[error("{0}")]
    Guest(GuestError),
    /// The task panicked.
    #[error("panicked at {location}: {message}")]
    Panic {
        /// What the panic said.
        message: String,
        /// File, line and column, as the guest gives them.
        location: String,
    },
    /// WebAssembly stopped the task.
    #[error("{trap}")]
    Trap {
        /// Why.
        trap: Trap,
        /// The guest's functions, innermost first, at most 16 of them.
        backtrace: Vec<Frame>,
    },
    /// A clock ran out.
    #[error("timed out: {clock} longer than {limit:?}")]
    Timeout {
        /// Which one.
        clock: Clock,
        /// What it was set to.
        limit: Duration,
    },
    /// The task used its fuel up.
    #[error("out of fuel: used all {limit} units")]
    OutOfFuel {
        /// What it had.
        limit: u64,
    },
    /// The task asked for more memory than it may have.
    #[error("memory limit: asked for {asked} bytes, {limit} are allowed")]
    MemoryLimit {
        /// What it may have, in bytes.
        limit: u64,
        /// What it asked for, in bytes.
        asked: u64,
    },
    /// The task's table grew beyond its limit.
    #[error("table limit: asked for {asked} elements, {limit} are allowed")]
    TableLimit {
        /// What it may have.
        limit: u64,
        /// What it asked for.
        asked: u64,
    },
    /// The result, or the task's own error, is larger than it may be.
    #[error("output limit: the result has {size} bytes, {limit} are allowed")]
    OutputLimit {
        /// What it may be, in bytes.
        limit: u64,
        /// What it is, in bytes.
        size: u64,
    },
    /// The task emitted a value that is larger than it may be.
    #[error("emit limit: a value has {size} bytes, {limit} are allowed")]
    EmitLimit {
        /// What it may be, in bytes.
        limit: u64,
        /// What it is, in bytes.
        size: u64,
    },
    /// The result is not what the guest's description promises.
    #[error("bad result: {message}")]
    BadResult {
        /// What is wrong with it.
        message: String,
    },
    /// The guest could not read its arguments.
    #[error("bad arguments: {message}")]
    BadArguments {
        /// What the guest said.
        message: String,
    },
    /// The guest broke the rules of its interface with the host.
    #[error("the guest broke its interface: {message}")]
    BadGuest {
        /// Which rule.
        message: String,
    },
    /// The task was cancelled before it started. It never ran.
    #[error("cancelled before it started")]
    Cancelled,
    /// The task had begun, and was ended by [`kill`](crate::TaskFuture::kill).
    #[error("killed")]
    Killed,
    /// The worker died while it had the task.
    #[error("worker lost: {cause} while the task was {phase}{}", earlier_deaths(earlier))]
    WorkerLost {
        /// How the process ended.
        cause: WorkerExit,
        /// What the task was doing.
        phase: Phase,
        /// How the workers ended that had begun it before: a task that brings down one after the other is
        /// not run again.
        earlier: Vec<WorkerExit>,
    },
    /// No worker could be started to run the task.
    #[error("no worker could be started: {message}")]
    NoWorker {
        /// Why the last attempt failed.
        message: String,
    },
    /// The pool was terminated before the task ended.
    #[error("the pool was terminated")]
    PoolClosed,
    /// The task's guest was unloaded from the pool before the task was submitted.
    #[error("the guest was unloaded")]
    GuestUnloaded,
}

fn earlier_deaths(earlier: &[WorkerExit]) -> String {
    match earlier.len() {
        0 => String::new(),
        1 => ", as once before".to_owned(),
        many => format!(", as {many} times before"),
    }
}

impl TaskError {
    /// A short name in snake case, as JSON has it.
    pub fn kind(&self) -> &'static str {
        match self {
            TaskError::Guest(_) => "guest",
            TaskError::Panic { .. } => "panic",
            TaskError::Trap { .. } => "trap",
            TaskError::Timeout { .. } => "timeout",
            TaskError::OutOfFuel { .. } => "out_of_fuel",
            TaskError::MemoryLimit { .. } => "memory_limit",
            TaskError::TableLimit { .. } => "table_limit",
            TaskError::OutputLimit { .. } => "output_limit",
            TaskError::EmitLimit { .. } => "emit_limit",
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

    /// Whether the guest's code is to blame: run again with the same input, it would most likely fail
    /// again.
    pub fn is_guest_fault(&self) -> bool {
        match self {
            TaskError::Guest(_)
            | TaskError::Panic { .. }
            | TaskError::Trap { .. }
            | TaskError::Timeout { clock: Clock::Run, .. }
            | TaskError::OutOfFuel { .. }
            | TaskError::MemoryLimit { .. }
            | TaskError::TableLimit { .. }
            | TaskError::OutputLimit { .. }
            | TaskError::EmitLimit { .. }
            | TaskError::BadResult { .. }
            | TaskError::BadArguments { .. }
            | TaskError::BadGuest { .. } => true,
            TaskError::WorkerLost { cause, .. } => !cause.is_external(),
            TaskError::Timeout { .. }
            | TaskError::Cancelled
            | TaskError::Killed
            | TaskError::NoWorker { .. }
            | TaskError::PoolClosed
            | TaskError::GuestUnloaded => false,
        }
    }

    /// Whether the same task may well succeed if it is submitted again.
    pub fn is_retryable(&self) -> bool {
        match self {
            TaskError::WorkerLost { cause, .. } => cause.is_external(),
            TaskError::NoWorker { .. } | TaskError::Timeout { .. } => true,
            _ => false,
        }
    }
}

/// The error that a task returned.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestError {
    pub(crate) message: String,
    pub(crate) value: Option<Vec<u8>>,
}

impl GuestError {
    /// What the error's `Display` says; empty if it has none.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error's value in postcard, where its type has a schema.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }

    /// The error as the guest's own type. None if the guest sent no value, or one of another type.
    pub fn decode<E: DeserializeOwned>(&self) -> Option<E> {
        postcard::from_bytes(self.value.as_deref()?).ok()
    }
}

impl fmt::Display for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return f.write_str("the task returned an error");
        }
        f.write_str(&self.message)
    }
}

impl fmt::Debug for GuestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestError").field("message", &self.message).finish_non_exhaustive()
    }
}

/// One function in a guest's backtrace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The function's name, or its number where the module has no names.
    pub function: String,
    /// Where in the module it was, in bytes from its start.
    pub offset: Option<u64>,
}

/// The clocks that can run out on a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Clock {
    /// From being submitted to beginning.
    Queue,
    /// The time that it ran; that it was suspended does not count.
    Run,
    /// From being submitted to having ended.
    Total,
}

impl Clock {
    /// A short name, as JSON has it.
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

/// What a task was doing when its worker died.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// It was on its way.
    Queued,
    /// It ran.
    Running,
    /// It had begun, and waited; or it had ended, and its result was on its way.
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

/// How a worker's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WorkerExit {
    /// It exited by itself with this code.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// The signal's number.
        signal: i32,
        /// Whether wpool sent it.
        by_pool: bool,
    },
    /// It broke the protocol, and wpool ended it.
    Violation(String),
    /// It is gone, and somebody else has collected its status.
    Unknown,
}

impl WorkerExit {
    /// Whether somebody other than wpool and the task ended the worker: SIGKILL and SIGTERM from
    /// outside, which is also how the kernel's out-of-memory killer ends a process.
    pub fn is_external(&self) -> bool {
        const SIGKILL: i32 = 9;
        const SIGTERM: i32 = 15;
        match self {
            WorkerExit::Signal { signal: SIGKILL | SIGTERM, by_pool } => !by_pool,
            WorkerExit::Unknown => true,
            _ => false,
        }
    }
}

impl fmt::Display for WorkerExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WorkerExit::Code(code) => write!(f, "it exited with code {code}"),
            WorkerExit::Signal { signal, .. } => write!(f, "it was ended by {}", signal_name(*signal)),
            WorkerExit::Violation(what) => write!(f, "it broke the protocol ({what})"),
            WorkerExit::Unknown => f.write_str("it is gone"),
        }
    }
}

/// The names of the signals that end processes.
fn signal_name(signal: i32) -> String {
    let name = match signal {
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// Why a guest could not be loaded.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The file could not be read.
    #[error("cannot read `{}`: {message}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The path names something that is not a regular file.
    #[error("`{}` is {what}, not a file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The module is larger than a module may be.
    #[error("the module has {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The bytes are something else than a WebAssembly module.
    #[error("not a WebAssembly module: this is {what}")]
    NotAModule {
        /// What they look like.
        what: &'static str,
    },
    /// The module is damaged, or uses what wpool does not allow.
    #[error("invalid module: {message}")]
    Invalid {
        /// What the compiler said, with the place.
        message: String,
    },
    /// The module imports something that no guest may have.
    #[error("unknown import `{module}` `{name}`")]
    UnknownImport {
        /// The module that it wants it from.
        module: String,
        /// The import's name.
        name: String,
    },
    /// An import or an export has another type than it must have.
    #[error("the {what} `{name}` has the type {found}, not {expected}")]
    WrongType {
        /// Import or export.
        what: &'static str,
        /// Its name.
        name: String,
        /// The type that it has.
        found: String,
        /// The type that it must have.
        expected: String,
    },
    /// The module lacks an export that every guest has.
    #[error("missing export `{name}`")]
    MissingExport {
        /// The export's name.
        name: String,
    },
    /// The module was built for another version of the guest ABI.
    #[error("the guest speaks version {found} of the ABI, this wpool speaks version {expected}")]
    WrongAbi {
        /// What the guest speaks.
        found: String,
        /// What this wpool speaks.
        expected: u32,
    },
    /// The module needs more memory to start than a task may have.
    #[error("the guest starts with {needed} bytes of memory, {limit} are allowed")]
    MemoryLimit {
        /// What it starts with.
        needed: u64,
        /// What it may have.
        limit: u64,
    },
    /// Compiling took too long.
    #[error("compiling took longer than {limit:?}")]
    CompileTimeout {
        /// The limit.
        limit: Duration,
    },
    /// The compiler ran out of memory.
    #[error("compiling needs more than {limit} bytes of memory")]
    CompileMemory {
        /// The limit in bytes.
        limit: u64,
    },
    /// The compiler's process ended without a result.
    #[error("the compiler was lost: {cause}")]
    CompilerLost {
        /// How it ended.
        cause: WorkerExit,
    },
    /// The guest could not describe its tasks.
    #[error("the guest could not describe its tasks")]
    Describe(#[source] TaskError),
    /// The guest's description is damaged.
    #[error("the guest's description is invalid: {message}")]
    Description {
        /// What is wrong with it.
        message: String,
    },
    /// A child process could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// Why a child process could not be started.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// There is no program to start.
    #[error(
        "no worker executable: call `wpool::init()` first in `main`, install `wpool` beside this program, \
         or name one with `Executable::at`"
    )]
    NoExecutable,
    /// The program could not be started.
    #[error("cannot start `{}`: {message}", path.display())]
    Start {
        /// The program.
        path: PathBuf,
        /// What the system said.
        message: String,
    },
    /// The program is not this version of wpool.
    #[error("`{}` is not this wpool: {message}", path.display())]
    Mismatch {
        /// The program.
        path: PathBuf,
        /// How it differs.
        message: String,
    },
    /// A resource of the system could not be had.
    #[error("cannot make {what}: {message}")]
    System {
        /// What was wanted.
        what: &'static str,
        /// What the system said.
        message: String,
    },
}

impl SpawnError {
    pub(crate) fn system(what: &'static str, error: impl Into<std::io::Error>) -> Self {
        SpawnError::System { what, message: error.into().to_string() }
    }
}

/// Why a pool could not be built.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A setting has a value that makes no sense.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The pool takes no more guests.
    #[error("the pool is closed: {by} was called")]
    Closed {
        /// What closed it.
        by: &'static str,
    },
    /// The guest's initializer failed, so no task can start from it.
    #[error("the guest's initializer failed")]
    Init(#[source] TaskError),
    /// The guest's initializer needs an argument.
    #[error("the guest's initializer `{name}({parameters})` needs an argument")]
    InitArgument {
        /// Its name.
        name: String,
        /// What it takes.
        parameters: String,
    },
    /// The guest could not be prepared for these limits.
    #[error("cannot prepare the guest")]
    Load(#[from] LoadError),
    /// A child process or another resource could not be had.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
}

/// A setting has a value that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{setting} cannot be {value}: {reason}")]
pub struct SettingError {
    /// Which setting.
    pub setting: &'static str,
    /// Its value.
    pub value: String,
    /// Why not.
    pub reason: &'static str,
}

impl SettingError {
    pub(crate) fn new(setting: &'static str, value: &impl ToString, reason: &'static str) -> Self {
        Self { setting, value: value.to_string(), reason }
    }
}

/// Why a guest cannot be given an argument for its initializer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// The guest has no initializer.
    #[error("the guest has no initializer")]
    None,
    /// It takes something else.
    #[error("initializer `{name}` takes `{expected}`, not `{found}`")]
    TypeMismatch {
        /// Its name.
        name: String,
        /// The type in the guest's description.
        expected: String,
        /// The type that was given.
        found: String,
    },
    /// The argument does not fit, or cannot be encoded.
    #[error("the initializer's argument does not fit: {message}")]
    Argument {
        /// What is wrong with it.
        message: String,
    },
}

/// Why a task's typed handle could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TaskLookupError {
    /// The guest has no task of this name.
    #[error("the guest has no task `{name}`{}", suggestion(.nearest, .tasks))]
    UnknownTask {
        /// The name that was asked for.
        name: String,
        /// The most similar name.
        nearest: Option<String>,
        /// All the names.
        tasks: Vec<String>,
    },
    /// The task takes or returns other types.
    #[error("task `{task}` {what} `{expected}`, not `{found}`")]
    TypeMismatch {
        /// The task.
        task: String,
        /// What differs: "takes" or "returns".
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
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// The pool takes no more tasks.
    #[error("the pool is closed: {by} was called")]
    Closed {
        /// What closed it.
        by: &'static str,
    },
    /// The queue is full. Only `try_submit` says so; `submit` waits.
    #[error("the queue is full: {limit} tasks wait")]
    QueueFull {
        /// How many may wait.
        limit: usize,
    },
    /// The arguments could not be encoded.
    #[error("the arguments cannot be encoded: {message}")]
    Encode {
        /// What the encoder said.
        message: String,
    },
    /// The arguments are larger than they may be.
    #[error("the arguments have {size} bytes, {limit} are allowed")]
    TooLarge {
        /// Their size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
}

/// Why a process could not be started for a task.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// It could not be set up.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The guest has no such task.
    #[error(transparent)]
    Lookup(#[from] TaskLookupError),
    /// The arguments cannot be passed.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

/// Why a call that was waited for has no value.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// It could not be submitted.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// It was, and failed.
    #[error(transparent)]
    Task(#[from] TaskError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_somebody_else_ended_is_nobodys_fault() {
        let outside = WorkerExit::Signal { signal: 9, by_pool: false };
        let ours = WorkerExit::Signal { signal: 9, by_pool: true };
        let crash = WorkerExit::Signal { signal: 11, by_pool: false };
        assert!(outside.is_external() && !ours.is_external() && !crash.is_external());
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
        let unknown = TaskLookupError::UnknownTask {
            name: "sqare".into(),
            nearest: Some("square".into()),
            tasks: vec!["square".into()],
        };
        assert_eq!(unknown.to_string(), "the guest has no task `sqare`; did you mean `square`?");
    }
}
