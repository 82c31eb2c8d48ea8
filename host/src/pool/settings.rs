//! [`GuestSettings`]: how a pool runs one guest, with the defaults.

use std::time::Duration;

use wpool_wire::limits::{ClockPolicy, Grow, Isolation, Limits, RandomPolicy, SubTasks};

use crate::error::{BuildError, SettingError};
use crate::guest::Guest;
use crate::ids::GuestKey;
use crate::runtime::{PoolGuest, TaskOptions};

/// The default number of times that a task whose worker was ended from outside runs again.
const DEFAULT_RETRIES: u8 = 2;
/// More workers than this are a mistake.
const MAX_WORKERS: usize = 4096;

/// The settings of a guest: name, value, and the assignment that it makes. [`GuestSettings`] and
/// [`PoolBuilder`](crate::PoolBuilder) have a method for each, with this documentation.
macro_rules! for_each_guest_setting {
    ($methods:ident) => {
        $methods! {
            /// Sets all limits of a task at once. It is an error of [`build`](crate::PoolBuilder::build) if a limit was set
            /// before, as this would overwrite it: call this first.
            limits: Limits => |settings| {
                settings.overwrites |= settings.limits != Limits::default();
                settings.limits = limits;
            };

            /// The run timeout: how long a task may run. Sleeping counts; while the task waits for a shared object, a
            /// sub-task or a reader the clock stands still. Default: 60 s; `None` is no limit. Zero ends every task at
            /// its first check.
            timeout: impl Into<Option<Duration>> => |settings| settings.limits.timeout = timeout.into();

            /// How long a task may be queued before it starts. Default: `None`, no limit.
            queue_timeout: impl Into<Option<Duration>> => |settings| settings.queue_timeout = queue_timeout.into();

            /// How long a task may take from its submission to its end. Default: `None`, no limit.
            total_timeout: impl Into<Option<Duration>> => |settings| settings.total_timeout = total_timeout.into();

            /// How long a task may run on after its time is over or it was killed; meanwhile
            /// `wpool_guest::cancelled()` returns true. Default: zero.
            grace: Duration => |settings| settings.limits.grace = grace;

            /// How many times a task runs again whose worker was ended from outside. Default: 2. Zero never retries.
            retries: u8 => |settings| settings.max_retries = retries;

            /// The limit of a task's linear memory in bytes. Default: 256 MiB; `None` is the 4 GiB that a guest can
            /// address.
            memory: impl Into<Option<u64>> => |settings| settings.limits.memory = memory.into();

            /// The consequence for a task that asks for more memory than it may have. Default: [`Grow::Fail`].
            grow: Grow => |settings| settings.limits.grow = grow;

            /// The fuel that a task may use. Default: `None`, and no fuel is counted.
            fuel: impl Into<Option<u64>> => |settings| settings.limits.fuel = fuel.into();

            /// The limit of a task's WebAssembly stack in bytes. Default: 512 KiB.
            max_stack: u32 => |settings| settings.limits.stack = max_stack;

            /// The limit of a task's table in elements. Default: 20,000.
            max_table: u32 => |settings| settings.limits.table = max_table;

            /// The limit of a task's encoded arguments in bytes. Default: 64 MiB; at most 1 GiB.
            max_arguments: u32 => |settings| settings.limits.arguments = max_arguments;

            /// The limit of a task's encoded result in bytes. Default: 64 MiB; at most 1 GiB.
            max_result: u32 => |settings| settings.limits.result = max_result;

            /// The limit of a task's log in bytes; what exceeds it is dropped and counted. Default: 64 KiB. Zero keeps
            /// no log.
            max_log: u32 => |settings| settings.limits.log = max_log;

            /// The unit that gets an instance of its own: a task, a batch or a worker. Default: [`Isolation::Task`].
            isolation: Isolation => |settings| settings.isolation = isolation;

            /// The guest's weight in the pool: while several guests have work, a guest of twice the weight gets twice the time.
            /// Default: 1. Zero counts as one.
            weight: u32 => |settings| settings.weight = weight;

            /// The sub-tasks that a task may submit, to its own guest and pool. Default: `None`, no sub-tasks.
            sub_tasks: impl Into<Option<SubTasks>> => |settings| settings.limits.sub_tasks = sub_tasks.into();

            /// The number of calls of shared objects that a task may make per second; a call beyond it fails with
            /// [`ObjectError::Quota`](crate::ObjectError::Quota). Accesses to [shared arrays](crate::SharedArray) do
            /// not count. Default: `None`, no limit. Zero allows none.
            object_calls: impl Into<Option<u32>> => |settings| settings.limits.calls = object_calls.into();

            /// Whether tasks can read clocks and sleep. Default: [`ClockPolicy::Coarse`], in steps of 1 ms.
            clock: ClockPolicy => |settings| settings.limits.clock = clock;

            /// The source of the tasks' random numbers. Default: [`RandomPolicy::Os`]; a seed makes them the same in
            /// every run.
            random: RandomPolicy => |settings| settings.limits.random = random;

            /// Whether tasks can read the name and process id of their worker, and the process id of this program, by
            /// `wpool_guest::worker()`. Default: false.
            worker_info: bool => |settings| settings.limits.worker_info = worker_info;
        }
    };
}
pub(super) use for_each_guest_setting;

/// How a pool runs one guest. Every method of one setting says its default.
///
/// ```
/// use std::time::Duration;
/// let settings = wpool::GuestSettings::new().timeout(Duration::from_secs(2)).memory(32 << 20).weight(3);
/// # let _ = settings;
/// ```
#[derive(Debug, Clone)]
pub struct GuestSettings {
    limits: Limits,
    isolation: Isolation,
    weight: u32,
    queue_timeout: Option<Duration>,
    total_timeout: Option<Duration>,
    max_retries: u8,
    /// `limits` has overwritten what was set before.
    overwrites: bool,
}

impl Default for GuestSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            isolation: Isolation::Task,
            weight: 1,
            queue_timeout: None,
            total_timeout: None,
            max_retries: DEFAULT_RETRIES,
            overwrites: false,
        }
    }
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident: $type:ty => |$settings:ident| $assign:expr;)*) => {
        impl GuestSettings {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(self, $name: $type) -> Self {
                let mut $settings = self;
                $assign;
                $settings
            })*
        }
    };
}

for_each_guest_setting!(methods);

impl GuestSettings {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    fn check(&self) -> Result<(), SettingError> {
        if self.overwrites {
            let reason = "it would overwrite a limit that was set before: call it first";
            return Err(SettingError::new("limits", &"all", reason));
        }
        let limits = &self.limits;
        if let Some(quota) = limits.sub_tasks {
            if quota.depth > SubTasks::MAX_DEPTH {
                return Err(SettingError::new("sub_tasks.depth", &quota.depth, "at most 32 are allowed"));
            }
            if self.isolation != Isolation::Task {
                let why = "with sub-tasks every task needs an instance of its own";
                return Err(SettingError::new("isolation", &format!("{:?}", self.isolation), why));
            }
        }
        if limits.stack > Limits::MAX_STACK {
            return Err(SettingError::new("stack", &limits.stack, "at most 64 MiB are allowed"));
        }
        if limits.stack < 16 << 10 {
            return Err(SettingError::new("stack", &limits.stack, "at least 16 KiB are needed"));
        }
        if limits.arguments > Limits::MAX_PAYLOAD {
            return Err(SettingError::new("arguments", &limits.arguments, "at most 1 GiB is allowed"));
        }
        if limits.result > Limits::MAX_PAYLOAD {
            return Err(SettingError::new("result", &limits.result, "at most 1 GiB is allowed"));
        }
        Ok(())
    }

    /// Checks the settings, and prepares a guest for them.
    pub(super) fn prepare(
        &self,
        guest: Guest,
    ) -> Result<impl FnOnce(GuestKey) -> PoolGuest + use<>, BuildError> {
        self.check()?;
        let start = guest.start(&self.limits)?;
        let (limits, isolation, weight) = (self.limits, self.isolation, self.weight);
        let options = TaskOptions {
            run_timeout: limits.timeout,
            queue_timeout: self.queue_timeout,
            total_timeout: self.total_timeout,
            map_timeout: None,
            priority: 0,
            max_retries: self.max_retries,
            chunk: None,
            buffer: None,
        };
        Ok(move |key| PoolGuest { key, guest, start, limits, isolation, weight, options })
    }
}

/// Checks the minimum and the maximum number of workers, and returns both.
pub(super) fn check_workers(min: Option<usize>, max: usize) -> Result<(u16, u16), SettingError> {
    if max == 0 {
        return Err(SettingError::new("workers", &max, "no worker would run the tasks"));
    }
    if max > MAX_WORKERS {
        return Err(SettingError::new("workers", &max, "at most 4096 are allowed"));
    }
    let min = min.unwrap_or(1);
    if min > max {
        return Err(SettingError::new("min_workers", &min, "it is more than `workers`"));
    }
    let fits = |workers: usize| u16::try_from(workers).expect("4096 fits");
    Ok((fits(min), fits(max)))
}
