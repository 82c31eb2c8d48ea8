//! Consecutive tasks as one record: a map's batch is split only when something happens to one of them.

use std::time::{Duration, Instant};

use crate::ids::{GuestKey, JobId, TaskId};

/// Consecutive tasks of one job: consecutive ids, consecutive places in the job, one function, one set of policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: TaskId,
    pub(crate) count: u32,
    pub(crate) job: JobId,
    /// The place of the first in its job.
    pub(crate) index: u64,
    pub(crate) guest: GuestKey,
    /// The function's number in its guest.
    pub(crate) function: u32,
    pub(crate) policy: TaskPolicy,
    pub(crate) past: Past,
}

/// What was agreed on when the tasks were submitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TaskPolicy {
    /// Higher ones go first.
    pub(crate) priority: i32,
    /// How long a task may run.
    pub(crate) run_timeout: Option<Duration>,
    /// Until when a task must have begun, and what that limit was.
    pub(crate) begin_by: Option<(Instant, Duration)>,
    /// Until when a task must have ended, and what that limit was.
    pub(crate) end_by: Option<(Instant, Duration)>,
    /// How often a task runs again whose worker was ended from outside.
    pub(crate) max_retries: u8,
    /// How long a task may go on that was told to end.
    pub(crate) grace: Duration,
    /// How many tasks are sent to a worker together; none measures what is best.
    pub(crate) chunk: Option<u32>,
    /// How many tasks there are above these: none above one that the host has submitted, one above its sub-tasks.
    pub(crate) depth: u8,
    /// How many values a task may emit before the first of them is read; none if nobody reads any.
    pub(crate) emits: Option<u64>,
}

/// What became of the tasks so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// How many workers died while one of these tasks was running.
    pub(crate) deaths: u8,
    /// How many workers died that had these tasks, begun but not running.
    pub(crate) losses: u8,
    /// Whether it must run where nothing else does. Such a range has one task.
    pub(crate) alone: bool,
}

impl Past {
    /// How often one of these tasks has begun in a worker that died.
    pub(crate) fn begun(self) -> u32 {
        u32::from(self.deaths) + u32::from(self.losses)
    }
}

impl Range {
    pub(crate) fn contains(&self, task: TaskId) -> bool {
        task >= self.first && task.0 - self.first.0 < u64::from(self.count)
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = TaskId> + use<> {
        let first = self.first;
        (0..self.count).map(move |n| first.plus(u64::from(n)))
    }

    /// The first `count` tasks, and the rest.
    pub(crate) fn split_at(self, count: u32) -> (Range, Range) {
        let head = Range { count, ..self };
        let tail = Range {
            first: self.first.plus(u64::from(count)),
            index: self.index + u64::from(count),
            count: self.count - count,
            ..self
        };
        (head, tail)
    }

    /// This range and the one that follows on from it, as one.
    pub(crate) fn join(self, next: Range) -> Option<Range> {
        let same = |range: Range| (range.job, range.guest, range.function, range.policy, range.past);
        let follows = self.first.plus(u64::from(self.count)) == next.first
            && self.index + u64::from(self.count) == next.index;
        if same(self) != same(next) || !follows || self.past.alone {
            return None;
        }
        Some(Range { count: self.count.checked_add(next.count)?, ..self })
    }

    /// As few ranges as hold the same tasks in the same order.
    pub(crate) fn joined(ranges: impl IntoIterator<Item = Range>) -> Vec<Range> {
        let mut joined: Vec<Range> = Vec::new();
        for range in ranges {
            match joined.last_mut().and_then(|last| Some((last.join(range)?, last))) {
                Some((both, last)) => *last = both,
                None => joined.push(range),
            }
        }
        joined
    }

    /// What is before a task, the task, and what is after it.
    pub(crate) fn isolate(self, task: TaskId) -> (Range, Range, Range) {
        let before = u32::try_from(task.0 - self.first.0).expect("a range counts in a u32");
        let (head, rest) = self.split_at(before);
        let (one, tail) = rest.split_at(1);
        (head, one, tail)
    }
}
