//! [`GuestSettings`]: how a pool runs one guest, with the defaults.

use std::time::Duration;

use wpool_wire::limits::{Grow, Isolation, Limits, SubTasks};

use crate::error::{BuildError, SettingError};
use crate::guest::Guest;
use crate::ids::GuestKey;
use crate::runtime::{PoolGuest, TaskOptions};

/// The default number of times that a task whose worker was ended from outside runs again.
const DEFAULT_RETRIES: u8 = 2;
/// More workers than this are a mistake.
const MAX_WORKERS: usize = 4096;

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
            max_retries: self.retries,
            chunk: None,
            buffer: None,
        };
        Ok(move |key| PoolGuest { key, guest, start, limits, isolation, weight, options })
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
