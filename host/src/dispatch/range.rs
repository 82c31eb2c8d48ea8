//! Consecutive tasks as one record: a map's batch is split only when something happens to one of them.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use crate::ids::{GuestKey, JobId, TaskId};

/// Consecutive tasks of one job: consecutive ids and indices, one function, one policy, one history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: TaskId,
    pub(crate) count: u32,
    pub(crate) job: JobId,
    /// The index of the first task in its job.
    pub(crate) index: u64,
    pub(crate) guest: GuestKey,
    /// The function's index in its guest.
    pub(crate) function: u32,
    pub(crate) policy: TaskPolicy,
    pub(crate) history: RetryHistory,
}

/// The terms on which tasks were submitted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TaskPolicy {
    /// Tasks with a greater one are sent first.
    pub(crate) priority: i32,
    /// How long a task may run; `None`: without limit.
    pub(crate) run_timeout: Option<Duration>,
    /// When a task must have begun, and the timeout that led to that; `None`: at any time.
    pub(crate) begin_by: Option<(Instant, Duration)>,
    /// When a task must have ended, and the timeout that led to that; `None`: at any time.
    pub(crate) end_by: Option<(Instant, Duration)>,
    /// How many workers may be lost while they run a task, before it fails.
    pub(crate) max_retries: u8,
    /// How long a task may take to end when it is told to.
    pub(crate) grace: Duration,
    /// The number of tasks that are sent to a worker together; `None`: by their average run time.
    pub(crate) chunk: Option<u32>,
    /// The number of tasks above these: zero for a task of the host, one for its sub-tasks.
    pub(crate) depth: u8,
    /// The number of values that a task may emit before the first of them is read; `None` if it has no reader.
    pub(crate) emits: Option<u64>,
}

/// The order of priority lanes: by priority, then by depth. Sub-tasks precede tasks that would begin anew, so that trees
/// of tasks are finished one after the other.
pub(super) type Rank = (Reverse<i32>, Reverse<u8>);

impl TaskPolicy {
    /// The priority lane in which the tasks wait.
    pub(super) fn rank(&self) -> Rank {
        (Reverse(self.priority), Reverse(self.depth))
    }
}

/// How often tasks were lost with their workers, and what follows from that.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RetryHistory {
    /// The number of workers that were lost while one of these tasks ran, or may have run.
    pub(crate) lost_while_running: u16,
    /// The number of workers that were lost while these tasks had begun and did not run.
    pub(crate) lost_while_suspended: u16,
    /// The number of workers that were lost before they had begun these tasks.
    pub(crate) lost_unbegun: u16,
    /// Whether the task is a crash suspect, which must run alone. The range of a suspect has one task.
    pub(crate) suspect: bool,
}

impl RetryHistory {
    /// How often one of these tasks has begun in a worker that was lost.
    pub(crate) fn attempts(self) -> u32 {
        u32::from(self.lost_while_running) + u32::from(self.lost_while_suspended)
    }

    pub(super) fn record_loss(&mut self, was_running: bool) {
        if was_running {
            self.lost_while_running += 1;
        } else {
            self.lost_while_suspended += 1;
        }
    }
}

impl Range {
    /// The id after the last task.
    pub(super) fn end(&self) -> TaskId {
        self.first.plus(u64::from(self.count))
    }

    pub(crate) fn contains(&self, task: TaskId) -> bool {
        self.first <= task && task < self.end()
    }

    pub(crate) fn tasks(&self) -> impl Iterator<Item = TaskId> + use<> {
        let first = self.first;
        (0..self.count).map(move |n| first.plus(u64::from(n)))
    }

    /// Splits the range behind its first `count` tasks.
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

    /// Splits the range into its tasks before `first`, those from there up to but not including `end`, and the rest.
    pub(super) fn split_around(self, first: TaskId, end: TaskId) -> (Range, Range, Range) {
        let before = |task: TaskId, range: Range| {
            let tasks = task.0.saturating_sub(range.first.0);
            u32::try_from(tasks).unwrap_or(u32::MAX).min(range.count)
        };
        let (head, rest) = self.split_at(before(first, self));
        let (middle, tail) = rest.split_at(before(end, rest));
        (head, middle, tail)
    }

    /// Splits the range into the tasks before `task`, `task` itself, and those after it.
    pub(crate) fn isolate(self, task: TaskId) -> (Range, Range, Range) {
        self.split_around(task, task.plus(1))
    }

    /// Joins two ranges if `next` continues this one: with the next ids and indices, and alike in all else.
    pub(crate) fn join(self, next: Range) -> Option<Range> {
        let same = |range: Range| (range.job, range.guest, range.function, range.policy, range.history);
        let follows = self.end() == next.first && self.index + u64::from(self.count) == next.index;
        if same(self) != same(next) || !follows || self.history.suspect {
            return None;
        }
        Some(Range { count: self.count.checked_add(next.count)?, ..self })
    }

    /// Joins neighbours as far as possible, in their order.
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
}
