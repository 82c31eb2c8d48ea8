//! What a task, a worker and a compilation may use, with the defaults.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What one task may use. Every field is enforced; `None` means that there is no limit.
///
/// ```
/// # use wpool_wire::limits as wpool;
/// let limits = wpool::Limits::default();
/// assert_eq!(limits.memory, Some(256 << 20));
/// assert_eq!(limits.fuel, None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Limits {
    /// How long it may run. The time that it spends suspended does not count. Default: 60 s. Zero ends
    /// every task at its first check.
    pub timeout: Option<Duration>,
    /// How long it may go on when its time is over or it was killed: it can ask whether that is so
    /// (`wpool_guest::cancelled()`), and end by itself. Default: zero. A task that waits is ended at once.
    pub grace: Duration,
    /// Bytes of linear memory. Default: 256 MiB. Without a limit it is what 32 bits can address, 4 GiB.
    pub memory: Option<u64>,
    /// What happens to a task that asks for more memory, or a larger table, than it may have. Default:
    /// [`Grow::Fail`].
    pub grow: Grow,
    /// Bytes of WebAssembly stack. Default: 512 KiB; at most 64 MiB.
    pub stack: u32,
    /// Elements of its table. Default: 20,000.
    pub table: u32,
    /// Bytes of encoded arguments. Default: 64 MiB; at most 1 GiB.
    pub arguments: u32,
    /// Bytes of its encoded result, or of its error. Default: 64 MiB; at most 1 GiB.
    pub result: u32,
    /// Bytes of its log; what is beyond is dropped and counted. Default: 64 KiB. Zero keeps no log.
    pub log: u32,
    /// Units of fuel, about one per instruction: a budget that is the same on every machine. Default:
    /// none, and then nothing is counted.
    pub fuel: Option<u64>,
    /// What it may submit itself. Default: none, and then it may submit nothing.
    pub sub_tasks: Option<SubTasks>,
    /// How many calls of shared objects it may make in a second. Default: none. Zero allows none.
    pub calls: Option<u32>,
}

impl Limits {
    /// The most that [`Limits::stack`] may be.
    pub const MAX_STACK: u32 = 64 << 20;
    /// The most that [`Limits::arguments`] and [`Limits::result`] may be: more would not fit beside
    /// itself into a guest's 4 GiB.
    pub const MAX_PAYLOAD: u32 = 1 << 30;
    /// The most that a guest of 32 bits can address.
    pub const MAX_MEMORY: u64 = 4 << 30;

    /// Bytes of linear memory, with the meaning of none filled in.
    #[doc(hidden)]
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memory.unwrap_or(Self::MAX_MEMORY).min(Self::MAX_MEMORY)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout: Some(Duration::from_secs(60)),
            grace: Duration::ZERO,
            memory: Some(256 << 20),
            grow: Grow::Fail,
            stack: 512 << 10,
            table: 20_000,
            arguments: 64 << 20,
            result: 64 << 20,
            log: 64 << 10,
            fuel: None,
            sub_tasks: None,
            calls: None,
        }
    }
}

/// What tasks may submit that submit tasks of their own guest, to their own pool.
///
/// ```
/// # use wpool_wire::limits as wpool;
/// let quota = wpool::SubTasks { depth: 2, ..wpool::SubTasks::default() };
/// assert_eq!(quota, wpool::SubTasks { depth: 2, fan_out: 1_000, total: 10_000 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTasks {
    /// How deep they may lie below a task that the host has submitted. Default: 8; at most 32. Zero allows none.
    pub depth: u8,
    /// How many one task may submit. Default: 1,000.
    pub fan_out: u32,
    /// How many a task that the host has submitted may have below it, on all levels together. Default: 10,000.
    pub total: u32,
}

impl SubTasks {
    /// The most that [`SubTasks::depth`] may be: a worker keeps a place free for each level.
    pub const MAX_DEPTH: u8 = 32;
}

impl Default for SubTasks {
    fn default() -> Self {
        Self { depth: 8, fan_out: 1_000, total: 10_000 }
    }
}

/// The most bytes that one emitted value may have.
pub const MAX_EMITTED: u32 = 1 << 20;

/// What has an instance of its own: nothing of what ran in an instance before is visible in a new one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Isolation {
    /// Every task.
    #[default]
    Task,
    /// Every batch of tasks that travel together. How many those are depends on how long they take; a task that
    /// fails other than by an error of its own takes its instance with it.
    Batch,
    /// Every worker process, as Python's workers keep their state. Tasks that wait keep the worker to themselves.
    Worker,
}

/// What happens when a task asks for more than it may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Grow {
    /// The task ends with `TaskError::MemoryLimit`.
    #[default]
    Fail,
    /// The guest sees that its request was refused, as on a machine without more memory, and goes on.
    Deny,
}

/// What the compilation of one guest may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CompileLimits {
    /// How long it may take. Default: 60 s.
    pub time: Duration,
    /// Bytes of memory of the compiler's process. Default: 2 GiB.
    pub memory: u64,
    /// Bytes of the module. Default: 64 MiB.
    pub module: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), memory: 2 << 30, module: 64 << 20 }
    }
}
