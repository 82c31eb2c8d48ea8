//! [`PoolBuilder`]: the settings of a pool, with the defaults.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use wpool_wire::limits::{Grow, Isolation, Limits, SubTasks};

use super::pool::Pool;
use super::settings::{GuestSettings, check_workers};
use crate::dispatch::Settings;
use crate::error::{BuildError, SettingError, SpawnError};
use crate::guest::Guest;
use crate::runtime::{self, Runtime};

/// The default number of tasks that may wait.
const DEFAULT_QUEUE: usize = 10_000;
/// The default limit of a pool's shared memory, in bytes.
const DEFAULT_SHARED_MEMORY: u64 = 1 << 30;
/// The default time after which a worker without anything to do exits.
const DEFAULT_IDLE: Duration = Duration::from_secs(60);

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

impl Pool {
    /// A pool of this guest, to be set up and built.
    pub fn builder(guest: Guest) -> PoolBuilder {
        PoolBuilder::new(guest)
    }
}

impl PoolBuilder {
    fn new(guest: Guest) -> Self {
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
        let guest = self.settings.prepare(self.guest)?;
        let runtime = Runtime::new(settings, self.queue, self.shared_memory)
            .map_err(|error| SpawnError::system("what a pool waits with", error))?;
        let guest = runtime.add_guest(guest);
        let driven = Arc::clone(&runtime);
        let driver = std::thread::Builder::new()
            .name("wpool driver".to_owned())
            .spawn(move || runtime::drive(&driven))
            .map_err(|error| SpawnError::system("a thread", error))?;
        Ok(Pool::new(runtime, guest, driver))
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
