//! Tasks that wait, first come first served, as ranges.

use std::collections::VecDeque;

use crate::ids::{JobId, TaskId};

/// Consecutive tasks of one job: consecutive ids, consecutive places in the job, one function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) first: TaskId,
    pub(crate) count: u32,
    pub(crate) job: JobId,
    /// The place of the first in its job.
    pub(crate) index: u64,
    /// The function's number.
    pub(crate) function: u32,
    /// How many workers died while one of these tasks was running.
    pub(crate) deaths: u8,
    /// How many workers died that had these tasks, begun but not running.
    pub(crate) losses: u8,
    /// Whether it must run where nothing else does. Such a range has one task.
    pub(crate) alone: bool,
}

impl Range {
    pub(crate) fn contains(&self, task: TaskId) -> bool {
        task >= self.first && task.0 - self.first.0 < u64::from(self.count)
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
    fn join(self, next: Range) -> Option<Range> {
        let same = |range: Range| (range.job, range.function, range.deaths, range.losses, range.alone);
        let follows = self.first.plus(u64::from(self.count)) == next.first
            && self.index + u64::from(self.count) == next.index;
        if same(self) != same(next) || !follows || self.alone {
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

#[derive(Debug, Default)]
pub(super) struct Queue {
    ranges: VecDeque<Range>,
    suspects: VecDeque<Range>,
    len: usize,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn push_back(&mut self, range: Range) {
        self.len += range.count as usize;
        // What follows on from the last range is one with it.
        if let Some(last) = self.ranges.back_mut()
            && let Some(both) = last.join(range)
        {
            *last = both;
            return;
        }
        self.ranges.push_back(range);
    }

    /// Puts back what was on its way, before everything else.
    pub(super) fn push_front(&mut self, range: Range) {
        self.len += range.count as usize;
        if range.alone {
            self.suspects.push_front(range);
        } else {
            self.ranges.push_front(range);
        }
    }

    pub(super) fn front_function(&self) -> Option<u32> {
        self.ranges.front().map(|range| range.function)
    }

    /// At most `count` tasks from the front.
    pub(super) fn pop_front(&mut self, count: u32) -> Option<Range> {
        let front = self.ranges.front_mut()?;
        let (head, tail) = front.split_at(count.min(front.count));
        if tail.count == 0 {
            self.ranges.pop_front();
        } else {
            *front = tail;
        }
        self.len -= head.count as usize;
        Some(head)
    }

    pub(super) fn front_suspect(&self) -> Option<Range> {
        self.suspects.front().copied()
    }

    pub(super) fn pop_suspect(&mut self) {
        if let Some(range) = self.suspects.pop_front() {
            self.len -= range.count as usize;
        }
    }

    /// Takes one task out.
    pub(super) fn remove(&mut self, task: TaskId) -> Option<Range> {
        for list in [&mut self.ranges, &mut self.suspects] {
            let Some(place) = list.iter().position(|range| range.contains(task)) else { continue };
            let (head, one, tail) = list.remove(place)?.isolate(task);
            for part in [tail, head] {
                if part.count > 0 {
                    list.insert(place, part);
                }
            }
            self.len -= 1;
            return Some(one);
        }
        None
    }

    /// Takes all tasks of a job out.
    pub(super) fn remove_job(&mut self, job: JobId) -> Vec<Range> {
        let mut removed = Vec::new();
        for list in [&mut self.ranges, &mut self.suspects] {
            list.retain(|range| {
                let keep = range.job != job;
                if !keep {
                    removed.push(*range);
                }
                keep
            });
        }
        self.len -= removed.iter().map(|range| range.count as usize).sum::<usize>();
        removed
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> Vec<Range> {
        self.len = 0;
        self.ranges.drain(..).chain(self.suspects.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, count: u32) -> Range {
        Range {
            first: TaskId(first),
            count,
            job: JobId(0),
            index: first,
            function: 0,
            deaths: 0,
            losses: 0,
            alone: false,
        }
    }

    #[test]
    fn ranges_join_and_split() {
        let mut queue = Queue::default();
        queue.push_back(range(0, 3));
        queue.push_back(range(3, 2));
        assert_eq!(queue.pop_front(4), Some(range(0, 4)));
        assert_eq!(queue.len(), 1);
        queue.push_front(range(0, 4));
        assert_eq!(queue.remove(TaskId(2)), Some(range(2, 1)));
        assert_eq!(queue.remove(TaskId(2)), None);
        assert_eq!(queue.pop_front(9), Some(range(0, 2)));
        assert_eq!(queue.pop_front(9), Some(range(3, 1)));
        assert_eq!(queue.pop_front(9), Some(range(4, 1)));
        assert_eq!((queue.pop_front(9), queue.len()), (None, 0));
    }
}
