//! Waiting tasks that are alike in rank: consecutive ones as one range, ordered by their ids.

use std::collections::BTreeMap;

use super::range::Range;
use crate::ids::TaskId;

/// The ranges of one rank by their first tasks.
///
/// A task that is retried has a lower id than the tasks submitted since, so it precedes them, and a task is found in
/// logarithmic time.
#[derive(Debug, Default)]
pub(super) struct Lane {
    ranges: BTreeMap<TaskId, Range>,
    /// How many ranges were looked at to remove tasks by their ids.
    #[cfg(test)]
    pub(super) looked_at: usize,
}

impl Lane {
    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.ranges.values().map(|range| range.count as usize).sum()
    }

    /// Adds a range, joined with the one that it continues.
    pub(super) fn add(&mut self, range: Range) {
        if let Some((_, before)) = self.ranges.range_mut(..range.first).next_back()
            && let Some(both) = before.join(range)
        {
            *before = both;
            return;
        }
        self.ranges.insert(range.first, range);
    }

    pub(super) fn first(&self) -> Option<&Range> {
        self.ranges.first_key_value().map(|(_, range)| range)
    }

    /// Removes the first range, or its first `count` tasks if it has more.
    pub(super) fn take(&mut self, count: u32) -> Option<Range> {
        let (_, range) = self.ranges.pop_first()?;
        let (head, tail) = range.split_at(count.min(range.count));
        self.put_back(tail);
        Some(head)
    }

    /// The range that contains a task.
    pub(super) fn containing(&self, task: TaskId) -> Option<&Range> {
        let (_, range) = self.ranges.range(..=task).next_back()?;
        range.contains(task).then_some(range)
    }

    /// Removes the tasks from `first` up to but not including `end`. The time depends on the number of ranges that
    /// contain such tasks, not on the lane's length.
    pub(super) fn remove_between(&mut self, first: TaskId, end: TaskId) -> Vec<Range> {
        let start = self.containing(first).map_or(first, |range| range.first);
        let overlapping: Vec<Range> = self.ranges.range(start..end).map(|(_, range)| *range).collect();
        #[cfg(test)]
        {
            self.looked_at += overlapping.len();
        }
        let middle = |range: Range| {
            self.ranges.remove(&range.first);
            let (head, middle, tail) = range.split_around(first, end);
            self.put_back(head);
            self.put_back(tail);
            middle
        };
        overlapping.into_iter().map(middle).collect()
    }

    /// Removes all ranges that are `chosen`.
    pub(super) fn remove_where(&mut self, chosen: impl Fn(&Range) -> bool) -> Vec<Range> {
        self.ranges.extract_if(.., |_, range| chosen(range)).map(|(_, range)| range).collect()
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Range> + use<> {
        std::mem::take(&mut self.ranges).into_values()
    }

    /// Keeps what is left of a range, unless that is nothing.
    fn put_back(&mut self, rest: Range) {
        if rest.count > 0 {
            self.ranges.insert(rest.first, rest);
        }
    }
}
