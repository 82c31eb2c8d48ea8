//! [`PoolBuilder`]: the settings of a pool, with the defaults.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use wpool_wire::limits::{ClockPolicy, Grow, Isolation, Limits, RandomPolicy, SubTasks};

use super::objects::manager::DEFAULT_SHARED_MEMORY;
use super::pool::Pool;
use super::settings::{GuestSettings, check_workers, for_each_guest_setting};
use crate::dispatch::Settings;
use crate::error::{BuildError, SettingError, SpawnError};
use crate::guest::Guest;
use crate::runtime::{self, Runtime};

/// The default number of tasks that may wait.
const DEFAULT_QUEUE: usize = 10_000;
/// The default time after which a worker without anything to do exits.
const DEFAULT_IDLE: Duration = Duration::from_secs(60);

/// Settings of a pool. Every method of one setting says its default.
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
    max_queued: usize,
    shared_memory: u64,
}

macro_rules! methods {
    ($($(#[$doc:meta])* $name:ident: $type:ty => |$settings:ident| $assign:expr;)*) => {
        /// The settings of the guest that the pool is built with.
        impl PoolBuilder {
            $($(#[$doc])*
            #[must_use]
            pub fn $name(mut self, $name: $type) -> Self {
                self.settings = self.settings.$name($name);
                self
            })*
        }
    };
}

for_each_guest_setting!(methods);

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
            max_queued: DEFAULT_QUEUE,
            shared_memory: DEFAULT_SHARED_MEMORY,
        }
    }

    /// The maximum number of worker processes. They start when there are tasks for them. Default: the number of
    /// processors that this process may use. Zero is an error; at most 4096.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// The minimum number of workers, kept also when there is nothing to do. Default: one. With zero the first task
    /// waits until a worker has started.
    #[must_use]
    pub fn min_workers(mut self, workers: usize) -> Self {
        self.min_workers = Some(workers);
        self
    }

    /// How long a worker stays without anything to do, unless it is one of the minimum. Default: 60 s; `None` keeps
    /// all.
    #[must_use]
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into();
        self
    }

    /// The number of tasks after which a worker is replaced. Default: `None`, never. Zero is an error.
    #[must_use]
    pub fn max_tasks_per_worker(mut self, tasks: impl Into<Option<u32>>) -> Self {
        self.max_tasks = tasks.into();
        self
    }

    /// The age at which a worker is replaced, when the tasks that it has have ended. Default: `None`, never.
    /// A worker that has had no task yet is not replaced, so zero is the time of its first tasks.
    #[must_use]
    pub fn max_worker_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_age = age.into();
        self
    }

    /// The resident memory in bytes beyond which a worker is replaced, when the tasks that it has have ended. Default:
    /// `None`, never. The memory of busy workers is looked at every 50 ms or more seldom, so zero replaces a worker whose
    /// tasks take that long.
    #[must_use]
    pub fn max_worker_memory(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.max_memory = bytes.into();
        self
    }

    /// All settings of the guest at once.
    #[must_use]
    pub fn guest_settings(mut self, settings: GuestSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The number of submitted tasks that may be queued; beyond it `submit` waits and `try_submit` fails. Default:
    /// 10,000. Zero is an error. Maps have a buffer of their own.
    #[must_use]
    pub fn max_queued(mut self, tasks: usize) -> Self {
        self.max_queued = tasks;
        self
    }

    /// The limit in bytes of all [shared arrays](crate::SharedArray) of the pool together. Default: 1 GiB. Zero allows
    /// none.
    #[must_use]
    pub fn shared_memory(mut self, bytes: u64) -> Self {
        self.shared_memory = bytes;
        self
    }

    /// Runs the guest's initializer, if it has one, and starts the pool with its minimum of workers, without waiting
    /// for them.
    ///
    /// # Errors
    /// If a setting makes no sense, if the guest does not fit its limits, if its initializer fails, or if the system
    /// refuses.
    pub fn build(self) -> Result<Pool, BuildError> {
        let settings = self.check()?;
        let guest = self.settings.prepare(self.guest)?;
        let runtime = Runtime::new(settings, self.max_queued, self.shared_memory)
            .map_err(|error| SpawnError::system("an epoll or event descriptor", error))?;
        let guest = runtime.add_guest(guest).map_err(|by| BuildError::Closed { by })?;
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
        if self.max_queued == 0 {
            return Err(SettingError::new("max_queued", &self.max_queued, "no task could ever be submitted"));
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
