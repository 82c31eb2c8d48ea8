//! [`PoolBuilder`]: what a pool is set to, with the defaults.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use super::core::Shared;
use super::{Pool, driver};
use crate::error::{BuildError, SpawnError};
use crate::guest::Guest;
use crate::limits::{Grow, Limits};

/// Tasks that may wait, by default.
const DEFAULT_QUEUE: usize = 10_000;
/// More workers than this are a mistake.
const MAX_WORKERS: usize = 4096;

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
    workers: Option<usize>,
    limits: Limits,
    queue: usize,
}

impl PoolBuilder {
    pub(super) fn new(guest: Guest) -> Self {
        Self { guest, workers: None, limits: Limits::default(), queue: DEFAULT_QUEUE }
    }

    /// How many worker processes there are. Default: the processors that this process may use. Zero is an
    /// error.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// All limits of a task at once.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long a task may run. Default: 60 s. `None` is for ever.
    #[must_use]
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.limits.timeout = timeout.into();
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

    /// How many submitted tasks may wait before `submit` does. Default: 10,000. Zero is an error. Maps have
    /// a buffer of their own.
    #[must_use]
    pub fn queue(mut self, tasks: usize) -> Self {
        self.queue = tasks;
        self
    }

    /// Starts the pool. Its workers start at the same time, and are not waited for.
    ///
    /// # Errors
    /// If a setting makes no sense, if the guest does not fit its limits, or if the system refuses.
    pub fn build(self) -> Result<Pool, BuildError> {
        let workers = self.check()?;
        let image = self.guest.image(&self.limits)?;
        let system = |what: &'static str| {
            move |error: std::io::Error| SpawnError::System { what, message: error.to_string() }
        };
        let shared = Shared::new(self.guest, image, self.limits, workers, self.queue)
            .map_err(|error| system("what a pool waits with")(error.into()))?;
        let shared = Arc::new(shared);
        let driven = Arc::clone(&shared);
        let driver = std::thread::Builder::new()
            .name("wpool driver".to_owned())
            .spawn(move || driver::run(&driven))
            .map_err(system("a thread"))?;
        Ok(Pool::new(shared, driver))
    }

    fn check(&self) -> Result<u16, BuildError> {
        let wrong = |setting, value: String, reason| Err(BuildError::Setting { setting, value, reason });
        let workers =
            self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZeroUsize::get));
        if workers == 0 {
            return wrong("workers", workers.to_string(), "nobody would run the tasks");
        }
        if workers > MAX_WORKERS {
            return wrong("workers", workers.to_string(), "at most 4096 are allowed");
        }
        if self.queue == 0 {
            return wrong("queue", self.queue.to_string(), "no task could ever be submitted");
        }
        let limits = &self.limits;
        if limits.stack > Limits::MAX_STACK {
            return wrong("stack", limits.stack.to_string(), "at most 64 MiB are allowed");
        }
        if limits.stack < 16 << 10 {
            return wrong("stack", limits.stack.to_string(), "at least 16 KiB are needed");
        }
        if limits.arguments > Limits::MAX_PAYLOAD {
            return wrong("arguments", limits.arguments.to_string(), "at most 1 GiB is allowed");
        }
        if limits.result > Limits::MAX_PAYLOAD {
            return wrong("result", limits.result.to_string(), "at most 1 GiB is allowed");
        }
        Ok(u16::try_from(workers).expect("4096 fits"))
    }
}
