//! [`PoolBuilder`] and [`GuestSettings`]: what a pool and its guests are set to, with the defaults.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::core::Shared;
use super::hosted::{Hosted, TaskOptions};
use super::{Pool, driver};
use crate::dispatch::Settings;
use crate::error::{BuildError, SettingError, SpawnError};
use crate::guest::Guest;
use crate::ids::GuestKey;
use wpool_wire::limits::{Grow, Isolation, Limits, SubTasks};

/// Tasks that may wait, by default.
const DEFAULT_QUEUE: usize = 10_000;
/// How many bytes of shared memory a pool has at most, if nobody says otherwise.
const DEFAULT_SHARED_MEMORY: u64 = 1 << 30;
/// More workers than this are a mistake.
pub(super) const MAX_WORKERS: usize = 4096;
/// By default a worker goes after so long without anything to do.
const DEFAULT_IDLE: Duration = Duration::from_secs(60);
/// How often a task runs again whose worker was ended from outside, by default.
const DEFAULT_RETRIES: u8 = 2;

/// How a pool runs one guest. Every method says its default.
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
    retries: u8,
}

impl Default for GuestSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            isolation: Isolation::Task,
            weight: 1,
            queue_timeout: None,
            total_timeout: None,
            retries: DEFAULT_RETRIES,
        }
    }
}

impl GuestSettings {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// All limits of a task at once.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long a task may run; that it waits does not count. Default: 60 s. `None` is for ever.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.timeout = timeout.into();
        self
    }

    /// How long a task may wait before it begins. Default: `None`, for ever.
    #[must_use]
    pub fn queue_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.queue_timeout = timeout.into();
        self
    }

    /// How long a task may take from being submitted to its end. Default: `None`, for ever.
    #[must_use]
    pub fn total_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.total_timeout = timeout.into();
        self
    }

    /// How long a task may go on that was killed or whose time is over; meanwhile `wpool_guest::cancelled()`
    /// tells it so. Default: zero.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.limits.grace = grace;
        self
    }

    /// How often a task runs again whose worker was ended from outside. Default: 2.
    #[must_use]
    pub fn retries(mut self, retries: u8) -> Self {
        self.retries = retries;
        self
    }

    /// Bytes of memory that a task may have. Default: 256 MiB. `None` is the 4 GiB that a guest can address.
    #[must_use]
    pub fn memory(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.limits.memory = bytes.into();
        self
    }

    /// What a task sees that asks for more memory than it may have. Default: [`Grow::Fail`].
    #[must_use]
    pub fn grow(mut self, grow: Grow) -> Self {
        self.limits.grow = grow;
        self
    }

    /// Fuel that a task may use. Default: `None`, and none is counted.
    #[must_use]
    pub fn fuel(mut self, fuel: impl Into<Option<u64>>) -> Self {
        self.limits.fuel = fuel.into();
        self
    }

    /// Bytes that a task's result may have. Default: 64 MiB; at most 1 GiB.
    #[must_use]
    pub fn max_result(mut self, bytes: u32) -> Self {
        self.limits.result = bytes;
        self
    }

    /// Bytes of a task's log that are kept. Default: 64 KiB. Zero keeps none.
    #[must_use]
    pub fn max_log(mut self, bytes: u32) -> Self {
        self.limits.log = bytes;
        self
    }

    /// What has an instance of its own. Default: [`Isolation::Task`].
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }

    /// The guest's share of the pool's time: while several guests have work, one of twice the weight gets twice
    /// the time. Default: 1. Zero counts as one.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// What a task may submit itself, of the same guest and to the same pool. Default: `None`, nothing.
    #[must_use]
    pub fn sub_tasks(mut self, quota: impl Into<Option<SubTasks>>) -> Self {
        self.limits.sub_tasks = quota.into();
        self
    }

    /// How many calls of shared objects a task may make in a second; one more is an error of that call. What goes to
    /// [shared arrays](crate::SharedArray) does not count. Default: `None`, any number. Zero allows none.
    #[must_use]
    pub fn object_calls(mut self, per_second: impl Into<Option<u32>>) -> Self {
        self.limits.calls = per_second.into();
        self
    }

    fn check(&self) -> Result<(), SettingError> {
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
    ) -> Result<impl FnOnce(GuestKey) -> Hosted + use<>, BuildError> {
        self.check()?;
        let start = guest.start(&self.limits)?;
        let (limits, isolation, weight) = (self.limits, self.isolation, self.weight);
        let options = TaskOptions {
            timeout: limits.timeout,
            queue_timeout: self.queue_timeout,
            total_timeout: self.total_timeout,
            map_timeout: None,
            priority: 0,
            retries: self.retries,
            chunk: None,
            buffer: None,
        };
        Ok(move |key| Hosted { key, guest, start, limits, isolation, weight, options })
    }
}

/// Settings of a pool. Every method says its default.
///
/// ```no_run
/// use std::time::Duration;
///
/// let guest = wpool::Guest::from_file("guest.wasm")?;
/// let pool = wpool::Pool::builder(guest).workers(8).timeout(Duration::from_secs(2)).build()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct PoolBuilder {
    guest: Guest,
    settings: GuestSettings,
    workers: Option<usize>,
    min_workers: Option<usize>,
    idle_timeout: Option<Duration>,
    max_tasks: Option<u32>,
    max_age: Option<Duration>,
    max_memory: Option<u64>,
    queue: usize,
    shared_memory: u64,
}

/// The same settings as those of the pool's guest.
macro_rules! guest_settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)*) => {
        $($(#[$doc])* #[must_use]
        pub fn $name(mut self, $name: $type) -> Self {
            self.settings = self.settings.$name($name);
            self
        })*
    };
}

impl PoolBuilder {
    pub(super) fn new(guest: Guest) -> Self {
        Self {
            guest,
            settings: GuestSettings::default(),
            workers: None,
            min_workers: None,
            idle_timeout: Some(DEFAULT_IDLE),
            max_tasks: None,
            max_age: None,
            max_memory: None,
            queue: DEFAULT_QUEUE,
            shared_memory: DEFAULT_SHARED_MEMORY,
        }
    }

    /// How many worker processes there are at most. They are started when there are tasks for them. Default: the
    /// processors that this process may use. Zero is an error.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// How many workers there are at least, also when there is nothing to do. Default: one. Zero is allowed:
    /// then the first task waits until a worker has started.
    #[must_use]
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.min_workers = Some(workers);
        self
    }

    /// A worker that has had nothing to do for so long goes, down to the least number of workers. Default: 60 s.
    /// `None` keeps all.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// A worker is replaced after so many tasks. Default: `None`, never. Zero is an error.
    #[must_use]
    pub fn max_tasks_per_worker(mut self, tasks: impl Into<Option<u32>>) -> Self {
        self.max_tasks = tasks.into();
        self
    }

    /// A worker that is so old is replaced when it has done what it has. Default: `None`, never.
    #[must_use]
    pub fn max_worker_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_age = age.into();
        self
    }

    /// A worker whose process has grown beyond so many bytes of memory is replaced when it has done what it has.
    /// Default: `None`, never.
    #[must_use]
    pub fn max_worker_memory(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_memory = bytes.into();
        self
    }

    /// How the guest is run, all at once.
    #[must_use]
    pub fn guest_settings(mut self, settings: GuestSettings) -> Self {
        self.settings = settings;
        self
    }

    guest_settings! {
        /// All limits of a task at once.
        limits: Limits;
        /// How long a task may run; that it waits does not count. Default: 60 s. `None` is for ever.
        timeout: impl Into<Option<Duration>>;
        /// How long a task may wait before it begins. Default: `None`, for ever.
        queue_timeout: impl Into<Option<Duration>>;
        /// How long a task may take from being submitted to its end. Default: `None`, for ever.
        total_timeout: impl Into<Option<Duration>>;
        /// How long a task may go on that was killed or whose time is over. Default: zero.
        grace: Duration;
        /// How often a task runs again whose worker was ended from outside. Default: 2.
        retries: u8;
        /// Bytes of memory that a task may have. Default: 256 MiB. `None` is the 4 GiB that a guest can address.
        memory: impl Into<Option<u64>>;
        /// What a task sees that asks for more memory than it may have. Default: [`Grow::Fail`].
        grow: Grow;
        /// Fuel that a task may use. Default: `None`, and none is counted.
        fuel: impl Into<Option<u64>>;
        /// Bytes that a task's result may have. Default: 64 MiB; at most 1 GiB.
        max_result: u32;
        /// Bytes of a task's log that are kept. Default: 64 KiB. Zero keeps none.
        max_log: u32;
        /// What has an instance of its own. Default: [`Isolation::Task`].
        isolation: Isolation;
        /// What a task may submit itself, of the same guest and to the same pool. Default: `None`, nothing.
        sub_tasks: impl Into<Option<SubTasks>>;
        /// How many calls of shared objects a task may make in a second; one more is an error of that call. What goes to
        /// [shared arrays](crate::SharedArray) does not count. Default: `None`, any number. Zero allows none.
        object_calls: impl Into<Option<u32>>;
    }

    /// How many submitted tasks may wait before `submit` does. Default: 10,000. Zero is an error. Maps have
    /// a buffer of their own.
    #[must_use]
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = tasks;
        self
    }

    /// How many bytes all [shared arrays](crate::SharedArray) of the pool may have together. Default: 1 GiB. Zero is
    /// none.
    #[must_use]
    pub fn shared_memory(mut self, bytes: u64) -> Self {
        self.shared_memory = bytes;
        self
    }

    /// Runs the guest's initializer, if it has one, and starts the pool with its least number of workers, which are
    /// not waited for.
    ///
    /// # Errors
    /// If a setting makes no sense, if the guest does not fit its limits, if its initializer fails, or if the system
    /// refuses.
    pub fn build(self) -> Result<Pool, BuildError> {
        let settings = self.check()?;
        let hosted = self.settings.prepare(self.guest)?;
        let system = |what: &'static str| {
            move |error: std::io::Error| SpawnError::System { what, message: error.to_string() }
        };
        let shared = Shared::new(settings, self.queue, self.shared_memory)
            .map_err(|error| system("what a pool waits with")(error.into()))?;
        let shared = Arc::new(shared);
        shared.with(|core| core.home = Arc::downgrade(&shared));
        let home = shared.host(hosted);
        let driven = Arc::clone(&shared);
        let driver = std::thread::Builder::new()
            .name("wpool driver".to_owned())
            .spawn(move || driver::run(&driven))
            .map_err(system("a thread"))?;
        Ok(Pool::new(shared, home, driver))
    }

    fn check(&self) -> Result<Settings, SettingError> {
        let default = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let max = self.workers.unwrap_or_else(default);
        let (min, max) = check_workers(self.min_workers, max)?;
        if self.queue == 0 {
            return Err(SettingError::new("queue", &self.queue, "no task could ever be submitted"));
        }
        if self.max_tasks == Some(0) {
            return Err(SettingError::new("max_tasks_per_worker", &0, "no worker could run anything"));
        }
        Ok(Settings {
            min,
            max,
            idle: self.idle_timeout,
            max_tasks: self.max_tasks,
            max_age: self.max_age,
            max_memory: self.max_memory,
        })
    }
}

/// The least and the greatest number of workers, if they make sense.
pub(super) fn check_workers(min: Option<usize>, max: usize) -> Result<(u16, u16), SettingError> {
    if max == 0 {
        return Err(SettingError::new("workers", &max, "nobody would run the tasks"));
    }
    if max > MAX_WORKERS {
        return Err(SettingError::new("workers", &max, "at most 4096 are allowed"));
    }
    let min = min.unwrap_or(1);
    if min > max {
        return Err(SettingError::new("min_workers", &min, "it is more than there may be at most"));
    }
    let fits = |workers: usize| u16::try_from(workers).expect("4096 fits");
    Ok((fits(min), fits(max)))
}
