//! A guest's tasks that wait: the most urgent first, among equals the deepest sub-task, among those the one that was
//! submitted first.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use super::range::Range;
use crate::ids::TaskId;

/// The ranges of one priority, by their first tasks. A task that comes back after its worker died has a lower
/// number than those that have waited since, so it goes first again.
type Lane = BTreeMap<TaskId, Range>;

/// Which lane comes before which: by priority, then by depth. Sub-tasks go before what would begin anew, so that what
/// has begun comes to an end.
type Rank = (Reverse<i32>, Reverse<u8>);

fn rank(range: &Range) -> Rank {
    (Reverse(range.policy.priority), Reverse(range.policy.depth))
}

/// What decides how many tasks are sent together.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kind {
    pub(super) function: u32,
    pub(super) chunk: Option<u32>,
    pub(super) depth: u8,
}

#[derive(Debug, Default)]
pub(super) struct Waiting {
    lanes: BTreeMap<Rank, Lane>,
    /// Tasks that must run alone. They go before all others.
    suspects: VecDeque<Range>,
    len: usize,
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds tasks in their place. What follows on from other tasks is one with them.
    pub(super) fn add(&mut self, range: Range) {
        self.len += range.count as usize;
        if range.past.alone {
            self.suspects.push_back(range);
            return;
        }
        let lane = self.lanes.entry(rank(&range)).or_default();
        if let Some((_, before)) = lane.range_mut(..range.first).next_back()
            && let Some(both) = before.join(range)
        {
            *before = both;
            return;
        }
        lane.insert(range.first, range);
    }

    /// The first lane whose tasks are so deep, or deeper.
    fn first_lane(&self, least_depth: u8) -> Option<Rank> {
        self.lanes.keys().find(|(_, Reverse(depth))| *depth >= least_depth).copied()
    }

    /// What the next task is like that lies so deep and need not run alone.
    pub(super) fn next_kind(&self, least_depth: u8) -> Option<Kind> {
        let lane = &self.lanes[&self.first_lane(least_depth)?];
        let (_, range) = lane.first_key_value()?;
        Some(Kind { function: range.function, chunk: range.policy.chunk, depth: range.policy.depth })
    }

    /// At most `count` tasks, those that are next among those that lie so deep.
    pub(super) fn take(&mut self, count: u32, least_depth: u8) -> Option<Range> {
        let rank = self.first_lane(least_depth)?;
        let lane = self.lanes.get_mut(&rank)?;
        let (_, range) = lane.pop_first()?;
        let (head, tail) = range.split_at(count.min(range.count));
        if tail.count > 0 {
            lane.insert(tail.first, tail);
        } else if lane.is_empty() {
            self.lanes.remove(&rank);
        }
        self.len -= head.count as usize;
        Some(head)
    }

    pub(super) fn next_suspect(&self) -> Option<Range> {
        self.suspects.front().copied()
    }

    pub(super) fn take_suspect(&mut self) -> Option<Range> {
        let range = self.suspects.pop_front()?;
        self.len -= range.count as usize;
        Some(range)
    }

    /// Takes one task out.
    pub(super) fn remove(&mut self, task: TaskId) -> Option<Range> {
        if let Some(place) = self.suspects.iter().position(|range| range.contains(task)) {
            self.len -= 1;
            return self.suspects.remove(place);
        }
        let (rank, range) = self.lanes.iter().find_map(|(rank, lane)| {
            let (_, range) = lane.range(..=task).next_back()?;
            range.contains(task).then_some((*rank, *range))
        })?;
        let lane = self.lanes.get_mut(&rank)?;
        lane.remove(&range.first);
        let (head, one, tail) = range.isolate(task);
        for part in [head, tail] {
            if part.count > 0 {
                lane.insert(part.first, part);
            }
        }
        if lane.is_empty() {
            self.lanes.remove(&rank);
        }
        self.len -= 1;
        Some(one)
    }

    /// Takes out all tasks that somebody chooses.
    pub(super) fn remove_where(&mut self, chosen: impl Fn(&Range) -> bool) -> Vec<Range> {
        let mut removed = Vec::new();
        self.suspects.retain(|range| keep_unless(&chosen, range, &mut removed));
        self.lanes.retain(|_, lane| {
            lane.retain(|_, range| keep_unless(&chosen, range, &mut removed));
            !lane.is_empty()
        });
        self.len -= removed.iter().map(|range| range.count as usize).sum::<usize>();
        removed
    }

    /// Takes out the tasks from `first` up to, not including, `end`.
    pub(super) fn remove_between(&mut self, first: TaskId, end: TaskId) -> Vec<Range> {
        let overlaps = |range: &Range| range.first < end && first < range.first.plus(u64::from(range.count));
        let mut removed = Vec::new();
        for range in self.remove_where(overlaps) {
            let before = u32::try_from(first.0.saturating_sub(range.first.0)).unwrap_or(0);
            let (head, rest) = range.split_at(before);
            let within = end.0 - rest.first.0;
            let (middle, tail) = rest.split_at(u32::try_from(within).unwrap_or(u32::MAX).min(rest.count));
            removed.push(middle);
            [head, tail].into_iter().filter(|part| part.count > 0).for_each(|part| self.add(part));
        }
        removed
    }

    /// Takes everything out, in order.
    pub(super) fn drain(&mut self) -> Vec<Range> {
        self.len = 0;
        let lanes = std::mem::take(&mut self.lanes);
        self.suspects.drain(..).chain(lanes.into_values().flat_map(BTreeMap::into_values)).collect()
    }
}

fn keep_unless(chosen: &impl Fn(&Range) -> bool, range: &Range, removed: &mut Vec<Range>) -> bool {
    let chosen = chosen(range);
    if chosen {
        removed.push(*range);
    }
    !chosen
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
    fn what_lies_between_is_cut_out_exactly() {
        let mut waiting = Waiting::default();
        waiting.add(range(0, 10));
        waiting.add(range(20, 5));
        assert_eq!(waiting.remove_between(TaskId(4), TaskId(22)), [range(4, 6), range(20, 2)]);
        assert_eq!(waiting.drain(), [range(0, 4), range(22, 3)]);
        assert!(waiting.is_empty());
    }

    #[test]
    fn the_urgent_go_first_and_what_comes_back_goes_before_what_came_later() {
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
        assert_eq!(waiting.take(9, 0), Some(urgent(2, 1)), "it joins only what it comes behind");
        assert_eq!(waiting.take(9, 0), Some(urgent(3, 1)));
        assert_eq!(waiting.take(9, 0), Some(urgent(9, 1)));
        assert_eq!(waiting.take(9, 0), Some(range(0, 2)));
    }
    #[test]
    fn the_deepest_go_first_among_equals_and_the_shallow_can_be_left_out() {
        let deep = |first, depth, priority| {
            let mut range = range(first, 1);
            (range.policy.depth, range.policy.priority) = (depth, priority);
            range
        };
        let mut waiting = Waiting::default();
        for range in [deep(0, 0, 1), deep(1, 0, 0), deep(2, 2, 0), deep(3, 1, 0)] {
            waiting.add(range);
        }
        assert_eq!(waiting.next_kind(2).map(|kind| kind.depth), Some(2));
        assert!(waiting.next_kind(3).is_none());
        assert_eq!(waiting.take(9, 1), Some(deep(2, 2, 0)), "what is urgent and shallow is left out");
        let order: Vec<_> = std::iter::from_fn(|| waiting.take(9, 0)).map(|range| range.first.0).collect();
        assert_eq!(order, [0, 3, 1]);
    }
}
