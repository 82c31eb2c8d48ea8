//! A guest's tasks that wait: by priority, among equals the deepest sub-tasks first, then by id.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::lane::Lane;
use super::range::{Range, Rank};
use crate::ids::{JobId, TaskId};

/// The properties of a task that decide how many like it are sent together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TaskShape {
    pub(super) function: u32,
    pub(super) chunk: Option<u32>,
    pub(super) depth: u8,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    lanes: BTreeMap<Rank, Lane>,
    /// Crash suspects: tasks that must run alone. They precede all others.
    suspects: Lane,
    /// Tasks of jobs that are held back: they wait, and are not handed out.
    held: Lane,
    len: usize,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of tasks that are held back.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn add(&mut self, range: Range) {
        self.len += range.count as usize;
        if range.history.suspect {
            self.suspects.add(range);
        } else {
            self.lanes.entry(range.policy.rank()).or_default().add(range);
        }
    }

    /// The shape of the next task at `least_depth` or deeper. Suspects do not count.
    pub(super) fn next_shape(&self, least_depth: u8) -> Option<TaskShape> {
        let range = self.lanes[&self.first_rank(least_depth)?].first()?;
        Some(TaskShape { function: range.function, chunk: range.policy.chunk, depth: range.policy.depth })
    }

    /// Removes the next tasks at `least_depth` or deeper, at most `count`. Suspects are left.
    pub(super) fn take(&mut self, count: u32, least_depth: u8) -> Option<Range> {
        let rank = self.first_rank(least_depth)?;
        let lane = self.lanes.get_mut(&rank)?;
        let range = lane.take(count)?;
        if lane.is_empty() {
            self.lanes.remove(&rank);
        }
        self.len -= range.count as usize;
        Some(range)
    }

    pub(super) fn any_suspect(&self) -> bool {
        !self.suspects.is_empty()
    }

    pub(super) fn take_suspect(&mut self) -> Option<Range> {
        let range = self.suspects.take(1)?;
        self.len -= 1;
        Some(range)
    }

    /// Removes one task. `None` if it does not wait.
    pub(super) fn remove(&mut self, task: TaskId) -> Option<Range> {
        let lanes = [&self.suspects, &self.held].into_iter().chain(self.lanes.values());
        let rank = lanes.filter_map(|lane| lane.containing(task)).next()?.policy.rank();
        self.remove_between(rank, task, task.plus(1)).pop()
    }

    /// Removes the tasks of one rank from `first` up to but not including `end`.
    pub(super) fn remove_between(&mut self, rank: Rank, first: TaskId, end: TaskId) -> Vec<Range> {
        let mut removed = self.suspects.remove_between(first, end);
        removed.extend(self.held.remove_between(first, end));
        if let Some(lane) = self.lanes.get_mut(&rank) {
            removed.extend(lane.remove_between(first, end));
            if lane.is_empty() {
                self.lanes.remove(&rank);
            }
        }
        self.len -= total(&removed);
        removed
    }

    /// Holds back the tasks of a job, but for those whose index is below `below`.
    pub(super) fn hold(&mut self, job: JobId, below: u64) {
        let is_behind = |range: &Range| range.job == job && range.index + u64::from(range.count) > below;
        let mut behind = Vec::new();
        self.lanes.retain(|_, lane| {
            behind.extend(lane.remove_where(is_behind));
            !lane.is_empty()
        });
        for range in behind {
            let (head, tail) = range.split_at(before(&range, below));
            self.put_back(head);
            self.held.add(tail);
        }
    }

    /// Hands out the tasks of a job again whose index is below `below`.
    pub(super) fn release(&mut self, job: JobId, below: u64) {
        let is_next = |range: &Range| range.job == job && range.index < below;
        for range in self.held.remove_where(is_next) {
            let (head, tail) = range.split_at(before(&range, below));
            self.put_back(head);
            if tail.count > 0 {
                self.held.add(tail);
            }
        }
    }

    /// Adds tasks that are counted already.
    fn put_back(&mut self, range: Range) {
        if range.count > 0 {
            self.len -= range.count as usize;
            self.add(range);
        }
    }

    /// Removes the tasks of all ranges that are `chosen`.
    pub(super) fn remove_where(&mut self, chosen: impl Fn(&Range) -> bool) -> Vec<Range> {
        let mut removed = self.suspects.remove_where(&chosen);
        removed.extend(self.held.remove_where(&chosen));
        self.lanes.retain(|_, lane| {
            removed.extend(lane.remove_where(&chosen));
            !lane.is_empty()
        });
        self.len -= total(&removed);
        removed
    }

    /// Removes all tasks, in order.
    pub(super) fn drain(&mut self) -> Vec<Range> {
        self.len = 0;
        let lanes = std::mem::take(&mut self.lanes);
        let held = self.held.drain();
        self.suspects
            .drain()
            .chain(held)
            .chain(lanes.into_values().flat_map(|mut lane| lane.drain()))
            .collect()
    }

    /// How many ranges were looked at to remove tasks by their ids, without those of lanes that are empty by now.
    #[cfg(test)]
    pub(super) fn looked_at(&self) -> usize {
        self.suspects.looked_at + self.lanes.values().map(|lane| lane.looked_at).sum::<usize>()
    }

    /// The first rank with tasks at `least_depth` or deeper.
    fn first_rank(&self, least_depth: u8) -> Option<Rank> {
        self.lanes.keys().find(|(_, Reverse(depth))| *depth >= least_depth).copied()
    }
}

fn total(ranges: &[Range]) -> usize {
    ranges.iter().map(|range| range.count as usize).sum()
}

/// The number of a range's tasks whose index is below `below`.
fn before(range: &Range, below: u64) -> u32 {
    u32::try_from(below.saturating_sub(range.index)).unwrap_or(u32::MAX).min(range.count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::range;

    #[test]
    fn ranges_join_and_split() {
        let mut waiting = Waiting::default();
        waiting.add(range(0, 3));
        waiting.add(range(3, 2));
        assert_eq!(waiting.take(4, 0), Some(range(0, 4)));
        assert_eq!(waiting.len(), 1);
        waiting.add(range(0, 4));
        assert_eq!(waiting.remove(TaskId(2)), Some(range(2, 1)));
        assert_eq!(waiting.remove(TaskId(2)), None);
        assert_eq!(waiting.take(9, 0), Some(range(0, 2)));
        assert_eq!(waiting.take(9, 0), Some(range(3, 1)));
        assert_eq!(waiting.take(9, 0), Some(range(4, 1)));
        assert_eq!((waiting.take(9, 0), waiting.len()), (None, 0));
    }

    #[test]
    fn tasks_between_two_ids_are_removed_exactly() {
        let mut waiting = Waiting::default();
        waiting.add(range(0, 10));
        waiting.add(range(20, 5));
        assert_eq!(
            waiting.remove_between(range(0, 1).policy.rank(), TaskId(4), TaskId(22)),
            [range(4, 6), range(20, 2)]
        );
        assert_eq!(waiting.drain(), [range(0, 4), range(22, 3)]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn priorities_come_first_and_then_ids_whenever_a_task_was_added() {
        let urgent = |first, count| {
            let mut range = range(first, count);
            range.policy.priority = 5;
            range
        };
        let mut waiting = Waiting::default();
        waiting.add(range(0, 2));
        waiting.add(urgent(2, 2));
        assert_eq!(waiting.take(1, 0), Some(urgent(2, 1)));
        waiting.add(urgent(9, 1));
        waiting.add(urgent(2, 1));
        assert_eq!(waiting.take(9, 0), Some(urgent(2, 1)), "it joins only a range that it continues");
        assert_eq!(waiting.take(9, 0), Some(urgent(3, 1)));
        assert_eq!(waiting.take(9, 0), Some(urgent(9, 1)));
        assert_eq!(waiting.take(9, 0), Some(range(0, 2)));
    }

    #[test]
    fn the_deepest_come_first_among_equals_and_others_can_be_left_out() {
        let deep = |first, depth, priority| {
            let mut range = range(first, 1);
            (range.policy.depth, range.policy.priority) = (depth, priority);
            range
        };
        let mut waiting = Waiting::default();
        for range in [deep(0, 0, 1), deep(1, 0, 0), deep(2, 2, 0), deep(3, 1, 0)] {
            waiting.add(range);
        }
        assert_eq!(waiting.next_shape(2).map(|shape| shape.depth), Some(2));
        assert!(waiting.next_shape(3).is_none());
        assert_eq!(
            waiting.take(9, 1),
            Some(deep(2, 2, 0)),
            "tasks of higher priority are left out if they lie less deep"
        );
        let order: Vec<_> = std::iter::from_fn(|| waiting.take(9, 0)).map(|range| range.first.0).collect();
        assert_eq!(order, [0, 3, 1]);
    }

    #[test]
    fn tasks_that_are_held_back_wait_and_can_be_removed() {
        let mut waiting = Waiting::default();
        waiting.add(range(0, 10));
        let job = range(0, 1).job;
        waiting.hold(job, 3);
        assert_eq!((waiting.len(), waiting.take(9, 0)), (10, Some(range(0, 3))));
        assert_eq!(waiting.take(9, 0), None, "the others are held back");
        waiting.release(job, 5);
        assert_eq!(waiting.take(9, 0), Some(range(3, 2)));
        assert_eq!(waiting.remove(TaskId(6)), Some(range(6, 1)), "a task that is held back can be cancelled");
        waiting.release(job, u64::MAX);
        assert_eq!((waiting.take(9, 0), waiting.take(9, 0)), (Some(range(5, 1)), Some(range(7, 3))));
        assert!(waiting.is_empty());
        waiting.add(range(20, 2));
        waiting.hold(job, 0);
        assert_eq!((waiting.drain().len(), waiting.len()), (1, 0));
    }
}
