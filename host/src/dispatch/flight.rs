//! The tasks in flight to one worker: sent, perhaps begun, not ended. Each has a claim word in the control page.

use std::collections::HashSet;
use std::fmt;

use super::range::Range;
use crate::ids::TaskId;
use wpool_wire::control::{CLAIMS, MAX_STARTED};

pub(super) struct Flight {
    /// In the order in which they were sent, each with the claim word of its first task. There are at most `CLAIMS`.
    ranges: Vec<(Range, u32)>,
    len: u32,
    /// Whether each claim word is taken.
    taken: Box<[bool]>,
    /// The claim word at which the search for free ones starts.
    cursor: u32,
    /// The tasks that wait for something. They do not count as load.
    suspended: HashSet<TaskId>,
    /// The tasks that have had an effect outside of their instances.
    acted: HashSet<TaskId>,
}

impl fmt::Debug for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.ranges).finish()
    }
}

impl Flight {
    pub(super) fn new() -> Self {
        Self {
            ranges: Vec::new(),
            len: 0,
            taken: vec![false; CLAIMS as usize].into(),
            cursor: 0,
            suspended: HashSet::new(),
            acted: HashSet::new(),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The number of tasks that are not suspended.
    pub(super) fn active(&self) -> u32 {
        self.len - u32::try_from(self.suspended.len()).unwrap_or(self.len)
    }

    /// How many tasks may be taken back for an idle worker: half of the active ones, or all of them if none of them can
    /// begin.
    pub(super) fn stealable(&self) -> u32 {
        if self.is_full() { self.active() } else { self.active() / 2 }
    }

    /// Whether suspended tasks take all slots for started tasks, so that no other can begin.
    pub(super) fn is_full(&self) -> bool {
        self.suspended.len() >= MAX_STARTED as usize
    }

    pub(super) fn any_suspended(&self) -> bool {
        !self.suspended.is_empty()
    }

    /// Marks a task as suspended. Returns whether the worker has it.
    pub(super) fn suspend(&mut self, task: TaskId) -> bool {
        let known = self.claim_of(task).is_some();
        if known {
            self.suspended.insert(task);
        }
        known
    }

    pub(super) fn resume(&mut self, task: TaskId) {
        self.suspended.remove(&task);
    }

    /// Marks a task as one that has had an effect, if the worker has it.
    pub(super) fn mark_acted(&mut self, task: TaskId) {
        if self.claim_of(task).is_some() {
            self.acted.insert(task);
        }
    }

    /// Whether a task has had an effect, or waits: it has begun, whatever the control page says.
    pub(super) fn has_acted(&self, task: TaskId) -> bool {
        self.acted.contains(&task) || self.suspended.contains(&task)
    }

    /// Removes the marks of the tasks that have had an effect, and returns the tasks.
    pub(super) fn take_acted(&mut self) -> HashSet<TaskId> {
        std::mem::take(&mut self.acted)
    }

    /// The first of the next free claim words, and how many follow one another from there, at most `wanted`.
    pub(super) fn free_claims(&mut self, wanted: u32) -> Option<(u32, u32)> {
        let start =
            (0..CLAIMS).map(|step| (self.cursor + step) % CLAIMS).find(|&claim| !self.is_taken(claim))?;
        let count = (0..wanted.min(CLAIMS)).take_while(|step| !self.is_taken(start + step)).count();
        Some((start, u32::try_from(count).ok()?))
    }

    pub(super) fn add(&mut self, range: Range, claim: u32) {
        self.mark(claim, range.count, true);
        self.cursor = (claim + range.count) % CLAIMS;
        self.len += range.count;
        self.ranges.push((range, claim));
    }

    /// Removes one task. Returns its claim word and a range of it alone.
    pub(super) fn remove(&mut self, task: TaskId) -> Option<(u32, Range)> {
        let position = self.ranges.iter().position(|(range, _)| range.contains(task))?;
        let (range, claim) = self.ranges[position];
        let (head, one, tail) = range.isolate(task);
        let own = claim + head.count;
        match (head.count, tail.count) {
            (0, 0) => drop(self.ranges.remove(position)),
            (0, _) => self.ranges[position] = (tail, own + 1),
            (_, 0) => self.ranges[position] = (head, claim),
            (_, _) => {
                self.ranges[position] = (head, claim);
                self.ranges.insert(position + 1, (tail, own + 1));
            }
        }
        self.mark(own, 1, false);
        self.len -= 1;
        if !self.suspended.is_empty() {
            self.suspended.remove(&task);
        }
        if !self.acted.is_empty() {
            self.acted.remove(&task);
        }
        Some((own % CLAIMS, one))
    }

    pub(super) fn claim_of(&self, task: TaskId) -> Option<u32> {
        let (range, claim) = self.ranges.iter().find(|(range, _)| range.contains(task))?;
        let offset = u32::try_from(task.0 - range.first.0).ok()?;
        Some((claim + offset) % CLAIMS)
    }

    pub(super) fn range_of(&self, task: TaskId) -> Option<&Range> {
        self.ranges().find(|range| range.contains(task))
    }

    pub(super) fn ranges(&self) -> impl Iterator<Item = &Range> {
        self.ranges.iter().map(|(range, _)| range)
    }

    /// Every task with its claim word and its range.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (TaskId, u32, &Range)> {
        self.ranges.iter().flat_map(|(range, claim)| {
            (0..range.count).map(move |n| (range.first.plus(u64::from(n)), (claim + n) % CLAIMS, range))
        })
    }

    /// The tasks from `first` up to but not including `end`, with their claim words.
    pub(super) fn tasks_between(&self, first: TaskId, end: TaskId) -> Vec<(TaskId, u32)> {
        let parts = self.ranges.iter().map(|&(range, claim)| {
            let (head, middle, _) = range.split_around(first, end);
            (middle, claim + head.count)
        });
        let tasks = parts.flat_map(|(part, claim)| {
            (0..part.count).map(move |n| (part.first.plus(u64::from(n)), (claim + n) % CLAIMS))
        });
        tasks.collect()
    }

    /// The last `count` tasks that were sent, with their claim words.
    pub(super) fn latest(&self, count: u32) -> Vec<(TaskId, u32)> {
        let skip = (self.len - count) as usize;
        self.tasks().skip(skip).map(|(task, claim, _)| (task, claim)).collect()
    }

    /// Removes all tasks, as ranges.
    pub(super) fn drain(&mut self) -> Vec<Range> {
        self.taken.fill(false);
        self.suspended.clear();
        self.acted.clear();
        self.len = 0;
        self.ranges.drain(..).map(|(range, _)| range).collect()
    }

    /// Removes all tasks, each with a range of it alone.
    pub(super) fn drain_tasks(&mut self) -> Vec<(TaskId, Range)> {
        let one = |range: Range, n: u32| range.split_at(n).1.split_at(1).0;
        self.drain()
            .into_iter()
            .flat_map(|range| (0..range.count).map(move |n| (range.first.plus(u64::from(n)), one(range, n))))
            .collect()
    }

    fn is_taken(&self, claim: u32) -> bool {
        self.taken[(claim % CLAIMS) as usize]
    }

    fn mark(&mut self, claim: u32, count: u32, taken: bool) {
        for n in 0..count {
            self.taken[((claim + n) % CLAIMS) as usize] = taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::range;

    /// Claim words are used in a circle: each way to look a task up finds the same one, also beyond the end.
    #[test]
    fn claim_words_go_round() {
        let mut flight = Flight::new();
        flight.add(range(7, 4), CLAIMS - 2);
        let expected =
            [(7, CLAIMS - 2), (8, CLAIMS - 1), (9, 0), (10, 1)].map(|(id, claim)| (TaskId(id), claim));
        assert!(flight.tasks().map(|(task, claim, _)| (task, claim)).eq(expected));
        assert_eq!(flight.tasks_between(TaskId(8), TaskId(10)), expected[1..3]);
        assert_eq!(flight.latest(2).len(), 2);
        assert!(expected.iter().all(|&(task, claim)| flight.claim_of(task) == Some(claim)));
        assert_eq!(flight.remove(TaskId(9)).map(|(claim, _)| claim), Some(0));
        assert_eq!(flight.claim_of(TaskId(10)), Some(1), "the others keep theirs");
        assert_eq!(flight.free_claims(1), Some((2, 1)));
        (0..2).for_each(|n| flight.mark_acted(TaskId(9 + n)));
        flight.remove(TaskId(10));
        assert!(!flight.take_acted().contains(&TaskId(10)), "an ended task is forgotten");
        flight.add(range(30, 1), 1);
        flight.add(range(20, 1), 0);
        assert_eq!(flight.free_claims(1), Some((2, 1)), "the next word is taken");
    }
}
