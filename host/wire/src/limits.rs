//! The limits of a task and of a compilation, with their defaults.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The limits of one task. Every field is enforced; `None` means that there is no limit, unless the field says otherwise.
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
    /// The time that the task may run. Sleeping counts; waiting for a shared object, for a sub-task or for a reader of
    /// emitted values does not. Default: 60 s. Zero ends every task at its first check.
    pub timeout: Option<Duration>,
    /// The time that the task may continue after its timeout has expired or it was killed, so that it can notice by
    /// `wpool_guest::cancelled()` and end by itself. Default: zero, which ends it at once. A task that sleeps is woken for
    /// that; one that waits is always ended at once.
    pub grace: Duration,
    /// Bytes of linear memory. Default: 256 MiB. `None` is the 4 GiB that 32 bits can address.
    pub memory: Option<u64>,
    /// The consequence of a request for more memory, or for a larger table, than the task may have. Default:
    /// [`Grow::Fail`].
    pub grow: Grow,
    /// Bytes of WebAssembly stack. Default: 512 KiB; at least 16 KiB, at most 64 MiB.
    pub stack: u32,
    /// Elements of the task's table. Default: 20,000.
    pub table: u32,
    /// Bytes of encoded arguments. Default: 64 MiB; at most 1 GiB.
    pub arguments: u32,
    /// Bytes of the encoded result, or of the encoded error. Default: 64 MiB; at most 1 GiB.
    pub result: u32,
    /// Bytes of the task's log; further bytes are dropped and counted. Default: 64 KiB. Zero keeps no log.
    pub log: u32,
    /// Units of fuel, about one per instruction: a budget that is the same on every machine. Default: `None`, and then
    /// fuel is not counted.
    pub fuel: Option<u64>,
    /// The sub-tasks that the task may submit. Default: `None`, which allows none.
    pub sub_tasks: Option<SubTasks>,
    /// Calls of shared objects per second. Default: `None`, no limit. Zero allows none.
    pub calls: Option<u32>,
    /// Whether the task can read clocks and sleep. Default: [`ClockPolicy::Coarse`].
    pub clock: ClockPolicy,
    /// The source of the task's random numbers. Default: [`RandomPolicy::Os`].
    pub random: RandomPolicy,
    /// Whether the task can read the name and the process ids of its worker. Default: false.
    pub worker_info: bool,
}

impl Limits {
    /// The maximum of [`Limits::stack`].
    pub const MAX_STACK: u32 = 64 << 20;
    /// The maximum of [`Limits::arguments`] and [`Limits::result`]. Two copies of more would not fit into a guest's
    /// 4 GiB.
    pub const MAX_PAYLOAD: u32 = 1 << 30;
    /// The bytes that a guest of 32 bits can address.
    pub const MAX_MEMORY: u64 = 4 << 30;

    /// Returns the bytes of linear memory that the task may have.
    #[doc(hidden)]
    #[must_use]
    #[inline]
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
            clock: ClockPolicy::Coarse,
            random: RandomPolicy::Os,
            worker_info: false,
        }
    }
}

/// Whether a task can read clocks and sleep, by the functions of `wpool_guest` or by WASI.
///
/// ```
/// # use wpool_wire::limits as wpool;
/// let mut limits = wpool::Limits::default();
/// limits.clock = wpool::ClockPolicy::Denied;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClockPolicy {
    /// It can, in steps of 1 ms.
    #[default]
    Coarse,
    /// It cannot: a task that tries fails with `TaskError::Denied`.
    Denied,
}

/// The source of a task's random numbers, drawn by the functions of `wpool_guest`, by `getrandom` or by WASI.
///
/// ```
/// # use wpool_wire::limits as wpool;
/// let mut limits = wpool::Limits::default();
/// limits.random = wpool::RandomPolicy::Seeded(7);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RandomPolicy {
    /// The operating system.
    #[default]
    Os,
    /// A generator that starts anew in every task, from this seed and the task's place: which `submit` or map of the
    /// pool, and the index in the map, or its place below its parent. A program that submits the same tasks in the same
    /// order draws the same numbers in each run, on every number of workers, and also in a task that is retried. The
    /// numbers are no secrets.
    Seeded(u64),
    /// There is none: a task that draws a number fails with `TaskError::Denied`.
    Denied,
}

/// The kinds of policy that can deny something to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Capability {
    /// Clocks and sleeping, by [`ClockPolicy`].
    Clock,
    /// Random numbers, by [`RandomPolicy`].
    Random,
}

impl Capability {
    /// Returns the name of the policy in lower case, as it stands in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Capability::Clock => "clock",
            Capability::Random => "random",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Capability::Clock => "clocks and sleeping",
            Capability::Random => "random numbers",
        })
    }
}

/// The limits of sub-tasks, which a task submits to its own pool and its own guest.
///
/// ```
/// # use wpool_wire::limits as wpool;
/// let quota = wpool::SubTasks { depth: 2, ..wpool::SubTasks::default() };
/// assert_eq!(quota, wpool::SubTasks { depth: 2, fan_out: 1_000, total: 10_000 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubTasks {
    /// The number of levels below a task that the host has submitted. Default: 8; at most 32. Zero allows no sub-task.
    pub depth: u8,
    /// The number of sub-tasks that one task may submit. Default: 1,000.
    pub fan_out: u32,
    /// The number of sub-tasks below a task that the host has submitted, on all levels together. Default: 10,000.
    pub total: u32,
}

impl SubTasks {
    /// The maximum of [`SubTasks::depth`]. A worker keeps a started-task slot free for each level.
    pub const MAX_DEPTH: u8 = 32;
}

impl Default for SubTasks {
    fn default() -> Self {
        Self { depth: 8, fan_out: 1_000, total: 10_000 }
    }
}

/// The maximum size of an emitted value, in bytes.
pub const MAX_EMITTED: u32 = 1 << 20;

/// The unit of work that gets an instance of its own. A new instance shows no trace of an earlier one.
///
/// ```
/// # use wpool_wire::limits as wpool;
/// assert_eq!(wpool::Isolation::default(), wpool::Isolation::Task);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Isolation {
    /// Every task.
    #[default]
    Task,
    /// Every batch of tasks that are sent to a worker together. The size of a batch depends on the tasks' duration. If a
    /// task fails other than by returning an error, the next task gets a new instance.
    Batch,
    /// Every worker process, so tasks see the state that earlier ones left, as in Python's workers. A suspended task keeps
    /// the worker's other tasks from starting.
    Worker,
}

/// The consequence of a request for more memory or table elements than a task may have.
///
/// ```
/// # use wpool_wire::limits as wpool;
/// let mut limits = wpool::Limits::default();
/// limits.grow = wpool::Grow::Deny;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Grow {
    /// The task ends with `TaskError::MemoryLimit`, or `TaskError::TableLimit` for a table.
    #[default]
    Fail,
    /// The request fails, as on a machine without free memory, and the task continues.
    Deny,
}

/// The limits of the compilation of one guest.
///
/// ```
/// # use wpool_wire::limits as wpool;
/// let mut limits = wpool::CompileLimits::default();
/// limits.module = 1 << 20;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CompileLimits {
    /// The time that it may take. Default: 60 s.
    pub time: Duration,
    /// Bytes of memory that the compiler's process may use. Default: 2 GiB.
    pub memory: u64,
    /// Bytes that the module may have. Default: 64 MiB.
    pub module: u64,
}

impl Default for CompileLimits {
    fn default() -> Self {
        Self { time: Duration::from_secs(60), memory: 2 << 30, module: 64 << 20 }
    }
}
