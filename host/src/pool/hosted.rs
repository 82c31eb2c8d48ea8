//! A guest in a pool, and what is agreed on for its tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::dispatch::Terms;
use crate::guest::{Guest, Start};
use crate::ids::GuestKey;
use wpool_wire::limits::{Isolation, Limits};

/// A guest, as one pool runs it.
pub(super) struct Hosted {
    pub(super) key: GuestKey,
    pub(super) guest: Guest,
    pub(super) start: Start,
    pub(super) limits: Limits,
    pub(super) isolation: Isolation,
    pub(super) weight: u32,
    /// What holds for tasks that say nothing else.
    pub(super) options: TaskOptions,
}

/// What can be set for each task and each map. None is no limit, or that the pool finds a good value.
#[derive(Debug, Clone, Copy)]
pub(super) struct TaskOptions {
    pub(super) timeout: Option<Duration>,
    pub(super) queue_timeout: Option<Duration>,
    pub(super) total_timeout: Option<Duration>,
    pub(super) map_timeout: Option<Duration>,
    pub(super) priority: i32,
    pub(super) retries: u8,
    pub(super) chunk: Option<u32>,
    pub(super) buffer: Option<usize>,
}

/// What tasks are submitted with: whose they are, which function, on which terms.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) hosted: Arc<Hosted>,
    pub(super) function: u32,
    pub(super) options: TaskOptions,
}

impl Call {
    /// The terms of tasks that are submitted now.
    pub(super) fn terms(&self, now: Instant) -> Terms {
        // A deadline that the clock cannot tell is none.
        let by = |limit: Option<Duration>| limit.and_then(|limit| Some((now.checked_add(limit)?, limit)));
        Terms {
            priority: self.options.priority,
            run: self.options.timeout,
            begin_by: by(self.options.queue_timeout),
            end_by: by(self.options.total_timeout),
            reruns: self.options.retries,
            grace: self.hosted.limits.grace,
            chunk: self.options.chunk,
            ..Terms::default()
        }
    }
}
