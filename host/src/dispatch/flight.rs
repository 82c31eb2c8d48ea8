//! The tasks that one worker has: sent, perhaps begun, not yet ended. Each has a word in the control page.

use std::collections::HashSet;
use std::fmt;

use super::range::Range;
use crate::ids::TaskId;
use wpool_wire::control::{CLAIMS, MAX_STARTED};

pub(super) struct Flight {
    /// In the order in which they were sent, each with the claim word of its first task.
    ranges: Vec<(Range, u32)>,
    len: u32,
    /// Which words are taken.
    taken: Box<[bool]>,
    /// Where the search for free words goes on.
    cursor: u32,
    /// Those of its tasks that wait for something, and are in nobody's way.
    suspended: HashSet<TaskId>,
    /// Those that have done something that others can see.
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

    /// A task waits for something. False if the worker does not have it.
    pub(super) fn suspend(&mut self, task: TaskId) -> bool {
        let known = self.claim_of(task).is_some();
        if known {
            self.suspended.insert(task);
        }
        known
    }

    /// A task does not wait any more.
    pub(super) fn resume(&mut self, task: TaskId) {
        self.suspended.remove(&task);
    }

    /// Whether any of its tasks waits for something.
    pub(super) fn any_suspended(&self) -> bool {
        !self.suspended.is_empty()
    }

    /// Whether so many of its tasks wait that no other can begin.
    pub(super) fn is_full(&self) -> bool {
        self.suspended.len() >= MAX_STARTED as usize
    }

    /// How many of its tasks could be taken back for a worker that has nothing to do: half of those that run or are
    /// about to; all of them if none of them can begin.
    pub(super) fn to_spare(&self) -> u32 {
        if self.is_full() { self.active() } else { self.active() / 2 }
    }

    /// A task has done something that others can see, if the worker has it.
    pub(super) fn mark_acted(&mut self, task: TaskId) {
        if self.claim_of(task).is_some() {
            self.acted.insert(task);
        }
    }

    /// The tasks that have done something that others can see. None is left marked.
    pub(super) fn take_acted(&mut self) -> HashSet<TaskId> {
        std::mem::take(&mut self.acted)
    }

    /// How many tasks run or are about to.
    pub(super) fn active(&self) -> u32 {
        self.len - u32::try_from(self.suspended.len()).unwrap_or(self.len)
    }

    pub(super) fn len(&self) -> u32 {
        self.len
    }

    /// The next free words: where they start, and how many there are in a row, at most `wanted`.
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

    /// Takes one task out, with its claim word.
    pub(super) fn remove(&mut self, task: TaskId) -> Option<(u32, Range)> {
        let place = self.ranges.iter().position(|(range, _)| range.contains(task))?;
        let (range, claim) = self.ranges[place];
        let (head, one, tail) = range.isolate(task);
        let own = claim + head.count;
        match (head.count, tail.count) {
            (0, 0) => drop(self.ranges.remove(place)),
            (0, _) => self.ranges[place] = (tail, own + 1),
            (_, 0) => self.ranges[place] = (head, claim),
            (_, _) => {
                self.ranges[place] = (head, claim);
                self.ranges.insert(place + 1, (tail, own + 1));
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
        self.ranges.iter().map(|(range, _)| range).find(|range| range.contains(task))
    }

    /// Every task with its claim word and its range.
    pub(super) fn tasks(&self) -> impl Iterator<Item = (TaskId, u32, &Range)> {
        self.ranges.iter().flat_map(|(range, claim)| {
            (0..range.count).map(move |n| (range.first.plus(u64::from(n)), (claim + n) % CLAIMS, range))
        })
    }

    /// The last `count` tasks that were sent, with their claim words.
    pub(super) fn latest(&self, count: u32) -> Vec<(TaskId, u32)> {
        let skip = (self.len - count) as usize;
        self.tasks().skip(skip).map(|(task, claim, _)| (task, claim)).collect()
    }

    /// Takes everything out, as ranges.
    pub(super) fn drain(&mut self) -> Vec<Range> {
        self.taken.fill(false);
        self.suspended.clear();
        self.acted.clear();
        self.len = 0;
        self.ranges.drain(..).map(|(range, _)| range).collect()
    }

    /// Takes everything out, task by task.
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
