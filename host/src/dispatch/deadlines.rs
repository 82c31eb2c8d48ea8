//! When tasks must begin and end, when a task that was told to end costs its worker, and when busy workers are probed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use super::range::{Range, Rank};
use crate::error::TaskError;
use crate::ids::{GuestKey, TaskId};

/// The deadlines of a pool's tasks.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// An entry goes when its last task ends, so there are at most two for each task that has not ended.
    entries: BTreeMap<Key, Entry>,
    ending: HashMap<TaskId, Ending>,
    /// The tasks of `ending` whose workers are to be killed, by the time of that.
    kills: BTreeSet<(Instant, TaskId)>,
    pub(super) next_probe: Option<Instant>,
}

/// Which deadline of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum DeadlineKind {
    Begin,
    End,
}

/// Identifies an entry. A range that contains a task has all of it in its policy, so the entry is found without an index.
/// Guest and rank lead to the lane where the tasks wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    at: Instant,
    kind: DeadlineKind,
    limit: Duration,
    guest: GuestKey,
    rank: Rank,
    first: TaskId,
}

/// Consecutive tasks with the same deadline.
#[derive(Debug)]
struct Entry {
    /// The id after the last task.
    end: TaskId,
    /// How many of the tasks have not ended.
    live: u64,
}

/// Consecutive tasks whose deadline has passed.
#[derive(Debug)]
pub(super) struct Expired {
    pub(super) kind: DeadlineKind,
    /// The timeout that led to the deadline.
    pub(super) limit: Duration,
    pub(super) guest: GuestKey,
    pub(super) rank: Rank,
    pub(super) first: TaskId,
    /// The id after the last task.
    pub(super) end: TaskId,
    /// How many of the tasks have not ended.
    pub(super) live: u64,
}

/// A task in flight that is to end before it is done.
#[derive(Debug)]
struct Ending {
    reason: TaskError,
    /// When its worker is killed; `None` until the worker is told to end the task.
    kill_at: Option<Instant>,
}

impl Deadlines {
    /// Adds the deadlines of tasks that are submitted.
    pub(super) fn add(&mut self, range: &Range) {
        for key in keys(range) {
            // Batches of a map have a deadline in common, and follow one another: they stay one entry.
            let before = self.entries.range_mut(key.lowest()..key).next_back();
            match before {
                Some((_, entry)) if entry.end == range.first => {
                    entry.end = range.end();
                    entry.live += u64::from(range.count);
                }
                _ => drop(self.entries.insert(key, Entry { end: range.end(), live: u64::from(range.count) })),
            }
        }
    }

    /// Removes the records of tasks that have ended. Deadlines that have passed are not there any more.
    pub(super) fn remove(&mut self, range: &Range) {
        if self.any_ending() {
            range.tasks().for_each(|task| drop(self.ended(task)));
        }
        if self.entries.is_empty() {
            return;
        }
        for key in keys(range) {
            let mut end = range.end();
            while range.first < end {
                let entries = key.lowest()..Key { first: end, ..key };
                let Some((&found, entry)) = self.entries.range_mut(entries).next_back() else { break };
                let (from, to) = (found.first.max(range.first), entry.end.min(end));
                entry.live -= to.0.saturating_sub(from.0);
                if entry.live == 0 {
                    self.entries.remove(&found);
                }
                end = found.first;
            }
        }
    }

    /// Removes an entry whose time has come.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<Expired> {
        let entry = self.entries.first_entry().filter(|entry| entry.key().at <= now)?;
        let (Key { kind, limit, guest, rank, first, .. }, Entry { end, live }) = entry.remove_entry();
        Some(Expired { kind, limit, guest, rank, first, end, live })
    }

    /// Notes that a task in flight is to end, and why. Returns whether that is news.
    pub(super) fn end(&mut self, task: TaskId, reason: &TaskError) -> bool {
        let new = !self.ending.contains_key(&task);
        if new {
            self.ending.insert(task, Ending { reason: reason.clone(), kill_at: None });
        }
        new
    }

    /// Notes that the worker was told to end a task. Returns whether that was still to be done.
    pub(super) fn tell(&mut self, task: TaskId, kill_at: Instant) -> bool {
        let untold = self.ending.get_mut(&task).filter(|ending| ending.kill_at.is_none());
        let new = untold.map(|ending| ending.kill_at = Some(kill_at)).is_some();
        if new {
            self.kills.insert((kill_at, task));
        }
        new
    }

    /// Removes a task whose worker did not end it in time, from those whose workers are to be killed.
    pub(super) fn take_kill(&mut self, now: Instant) -> Option<TaskId> {
        self.kills.first().filter(|(at, _)| *at <= now)?;
        self.kills.pop_first().map(|(_, task)| task)
    }

    /// Notes the end of a task. Returns the reason why it was to end, if it was.
    pub(super) fn ended(&mut self, task: TaskId) -> Option<TaskError> {
        if !self.any_ending() {
            return None;
        }
        let Ending { reason, kill_at } = self.ending.remove(&task)?;
        if let Some(at) = kill_at {
            self.kills.remove(&(at, task));
        }
        Some(reason)
    }

    pub(super) fn any_ending(&self) -> bool {
        !self.ending.is_empty()
    }

    /// The next instant at which anything of this is due.
    pub(super) fn next(&self) -> Option<Instant> {
        let entry = self.entries.first_key_value().map(|(key, _)| key.at);
        let kill = self.kills.first().map(|(at, _)| *at);
        entry.into_iter().chain(kill).chain(self.next_probe).min()
    }

    /// The number of all records.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.entries.len() + self.ending.len() + self.kills.len()
    }
}

impl Key {
    /// The least key of the same deadline.
    fn lowest(self) -> Self {
        Self { first: TaskId(0), ..self }
    }
}

/// The keys of a range's deadlines, as if it were the first with them.
fn keys(range: &Range) -> impl Iterator<Item = Key> + use<> {
    let Range { first, guest, policy, .. } = *range;
    let clocks = [(DeadlineKind::Begin, policy.begin_by), (DeadlineKind::End, policy.end_by)];
    clocks.into_iter().filter_map(move |(kind, clock)| {
        clock.map(|(at, limit)| Key { at, kind, limit, guest, rank: policy.rank(), first })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::tests::range;

    #[test]
    fn an_entry_lasts_as_long_as_one_of_its_tasks() {
        let at = Instant::now();
        let with_deadline = |first, count| {
            let mut range = range(first, count);
            range.policy.end_by = Some((at, Duration::ZERO));
            range
        };
        let mut deadlines = Deadlines::default();
        deadlines.add(&with_deadline(0, 5));
        deadlines.add(&with_deadline(5, 5));
        assert_eq!(deadlines.len(), 1);
        deadlines.remove(&with_deadline(2, 1));
        deadlines.remove(&with_deadline(0, 2));
        deadlines.remove(&range(0, 10));
        assert_eq!((deadlines.len(), deadlines.next()), (1, Some(at)));
        deadlines.remove(&with_deadline(3, 7));
        assert_eq!((deadlines.len(), deadlines.next()), (0, None));
        deadlines.add(&with_deadline(5, 5));
        deadlines.add(&with_deadline(0, 5));
        assert_eq!(deadlines.len(), 2);
        deadlines.remove(&with_deadline(4, 2));
        deadlines.remove(&with_deadline(0, 4));
        deadlines.remove(&with_deadline(6, 4));
        assert_eq!(deadlines.len(), 0);
        // Tasks of others may have the ids between two ranges.
        deadlines.add(&with_deadline(0, 5));
        deadlines.add(&with_deadline(10, 5));
        assert_eq!(deadlines.len(), 2);
    }
}
