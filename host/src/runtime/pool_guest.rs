//! A guest in a pool, and the policy of its tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wpool_wire::limits::{Isolation, Limits};

use super::cell::log::LogCell;
use crate::dispatch::TaskPolicy;
use crate::guest::{Guest, Start};
use crate::ids::GuestKey;

/// A guest, as one pool runs it.
pub(crate) struct PoolGuest {
    pub(crate) key: GuestKey,
    pub(crate) guest: Guest,
    pub(crate) start: Start,
    pub(crate) limits: Limits,
    pub(crate) isolation: Isolation,
    pub(crate) weight: u32,
    /// The options of tasks that set none of their own.
    pub(crate) options: TaskOptions,
}

/// The options of a task and a map. A limit of `None` is no limit; for `chunk` the pool then measures the best size,
/// and for `buffer` it has a default.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskOptions {
    pub(crate) run_timeout: Option<Duration>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) total_timeout: Option<Duration>,
    pub(crate) map_timeout: Option<Duration>,
    pub(crate) priority: i32,
    pub(crate) max_retries: u8,
    pub(crate) chunk: Option<u32>,
    pub(crate) buffer: Option<usize>,
}

/// One of a guest's functions with the options of its tasks: all of a submitted task but its arguments.
#[derive(Clone)]
pub(crate) struct TaskCall {
    pub(crate) guest: Arc<PoolGuest>,
    /// The function's index in its guest.
    pub(crate) function: u32,
    pub(crate) options: TaskOptions,
    /// The reader of the logs of a map's tasks, if there is one.
    pub(crate) logs: Option<Arc<LogCell>>,
}

impl TaskCall {
    /// The policy of tasks that are submitted now.
    pub(super) fn policy(&self, now: Instant) -> TaskPolicy {
        // A deadline that the clock cannot represent is none.
        let by = |limit: Option<Duration>| limit.and_then(|limit| Some((now.checked_add(limit)?, limit)));
        TaskPolicy {
            priority: self.options.priority,
            run_timeout: self.options.run_timeout,
            begin_by: by(self.options.queue_timeout),
            end_by: by(self.options.total_timeout),
            max_retries: self.options.max_retries,
            grace: self.guest.limits.grace,
            chunk: self.options.chunk,
            ..TaskPolicy::default()
        }
    }
}
