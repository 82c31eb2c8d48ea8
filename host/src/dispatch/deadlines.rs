//! The clocks of tasks: those that must begin or end in time, those that were told to end, those that are stuck.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::range::Range;
use super::staffing::Slot;
use super::{Action, Dispatcher, Probe, Recall};
use crate::error::{Clock, TaskError};
use crate::ids::{TaskId, WorkerId};

/// The parent ends a worker this long after the worker should have ended the task itself.
pub(super) const GRACE: Duration = Duration::from_millis(250);
/// How often busy workers are looked at, at most and at least, if there is something to look for.
pub(super) const PROBE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// Which deadline of a task it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Begin,
    End,
}

/// A task that has begun and is to end before its time.
#[derive(Debug)]
struct EndingTask {
    reason: TaskError,
    /// When its worker is ended, because it did not end the task; none until it was told to.
    by_force: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    /// Tasks from a first one on, how many, and what the limit was. Those that have ended stay here until then.
    due: BTreeMap<(Instant, Due, TaskId), (u64, Duration)>,
    ending: HashMap<TaskId, EndingTask>,
    next_probe: Option<Instant>,
}

impl Deadlines {
    /// Remembers until when tasks must begin and end.
    pub(super) fn watch(&mut self, range: &Range) {
        let clocks = [(Due::Begin, range.policy.begin_by), (Due::End, range.policy.end_by)];
        for (due, clock) in clocks {
            let Some((at, limit)) = clock else { continue };
            // What follows on from other tasks with the same deadline is one with them.
            let before = self.due.range_mut((at, due, TaskId(0))..(at, due, range.first)).next_back();
            match before {
                Some((&(_, _, first), (count, _))) if first.plus(*count) == range.first => {
                    *count += u64::from(range.count);
                }
                _ => drop(self.due.insert((at, due, range.first), (u64::from(range.count), limit))),
            }
        }
    }

    /// A task has ended. If it was told to, this is why.
    pub(super) fn ended(&mut self, task: TaskId) -> Option<TaskError> {
        if self.ending.is_empty() {
            return None;
        }
        self.ending.remove(&task).map(|ending| ending.reason)
    }

    pub(super) fn next(&self) -> Option<Instant> {
        let due = self.due.first_key_value().map(|((at, ..), _)| *at);
        let by_force = self.ending.values().filter_map(|ending| ending.by_force);
        by_force.chain(due).chain(self.next_probe).min()
    }

    fn take_due(&mut self, now: Instant) -> Option<(Due, TaskId, TaskId, Duration)> {
        let entry = self.due.first_entry().filter(|entry| entry.key().0 <= now)?;
        let ((_, due, first), (count, limit)) = entry.remove_entry();
        Some((due, first, first.plus(count), limit))
    }
}

/// The end of tasks that did not begin in time.
pub(super) fn late(range: Range) -> Action {
    let limit = range.policy.begin_by.map(|(_, limit)| limit).unwrap_or_default();
    Action::Fail { range, error: TaskError::Timeout { clock: Clock::Queue, limit } }
}

impl Dispatcher {
    /// Ends tasks whose time is over.
    pub(super) fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some((due, first, end, limit)) = self.deadlines.take_due(now) {
            let clock = match due {
                Due::Begin => Clock::Queue,
                Due::End => Clock::Total,
            };
            let error = TaskError::Timeout { clock, limit };
            for tenant in self.guests.values_mut() {
                let late = tenant.waiting.remove_between(first, end).into_iter();
                actions.extend(late.map(|range| Action::Fail { range, error: error.clone() }));
            }
            let held: Vec<TaskId> = self
                .serving_all()
                .flat_map(|(_, serving)| serving.flight.tasks())
                .map(|(task, ..)| task)
                .filter(|task| (first..end).contains(task))
                .collect();
            for task in held {
                match (due, self.holder_ready(task)) {
                    (Due::Begin, Some((worker, claim))) => {
                        actions.push(Action::Recall {
                            worker,
                            tasks: vec![(task, claim)],
                            why: Recall::Late,
                        });
                    }
                    (Due::Begin, None) => {}
                    (Due::End, _) => self.end_task(task, error.clone(), now, actions),
                }
            }
        }
    }

    /// Somebody wants a task to end, whatever it does. One that has not begun is cancelled.
    pub(super) fn kill(&mut self, task: TaskId, now: Instant, actions: &mut Vec<Action>) {
        if let Some(range) = self.guests.values_mut().find_map(|tenant| tenant.waiting.remove(task)) {
            actions.push(super::cancelled(range));
        } else {
            self.end_task(task, TaskError::Killed, now, actions);
        }
    }

    /// Has a task end that some worker has: it is taken back, or told to.
    fn end_task(&mut self, task: TaskId, reason: TaskError, now: Instant, actions: &mut Vec<Action>) {
        if self.deadlines.ending.contains_key(&task) {
            return;
        }
        if let Some((worker, claim)) = self.holder_ready(task) {
            self.deadlines.ending.insert(task, EndingTask { reason, by_force: None });
            actions.push(Action::Recall { worker, tasks: vec![(task, claim)], why: Recall::End });
        } else if self.holder(task).is_some() {
            // Its worker is about to end anyway, and then it does not run again.
            self.deadlines.ending.insert(task, EndingTask { reason, by_force: Some(now) });
        }
    }

    /// Those that could be taken back have ended; the others are told to.
    pub(super) fn end_the_rest(
        &mut self,
        worker: WorkerId,
        taken: Vec<Range>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        for range in taken {
            for task in range.tasks() {
                let (_, one, _) = range.isolate(task);
                let error = match self.deadlines.ended(task) {
                    None | Some(TaskError::Killed) => TaskError::Cancelled,
                    Some(reason) => reason,
                };
                actions.push(Action::Fail { range: one, error });
            }
        }
        let Self { deadlines, slots, .. } = self;
        let Some(serving) = slots.get(usize::from(worker.slot)).and_then(Slot::serving) else { return };
        for (&task, ending) in deadlines.ending.iter_mut().filter(|(_, ending)| ending.by_force.is_none()) {
            if let (Some(claim), Some(range)) = (serving.flight.claim_of(task), serving.flight.range_of(task))
            {
                ending.by_force = Some(now + range.policy.grace + GRACE);
                actions.push(Action::EndTask { worker, task, claim });
            }
        }
    }

    /// Ends workers that did not end a task when they were told to.
    pub(super) fn end_by_force(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let overdue = self
            .deadlines
            .ending
            .iter_mut()
            .filter(|(_, ending)| ending.by_force.is_some_and(|at| at <= now));
        let overdue: Vec<TaskId> = overdue
            .map(|(task, ending)| {
                // Once is enough: the next thing to happen is the worker's end.
                ending.by_force = None;
                *task
            })
            .collect();
        for task in overdue {
            if let Some((worker, _)) = self.holder_ready(task) {
                actions.push(Action::Kill(worker));
                self.give_up(worker, Some(task));
            }
        }
    }

    /// A worker is killed because of a task, or because it does nothing at all.
    fn give_up(&mut self, worker: WorkerId, stuck: Option<TaskId>) {
        if let Some(serving) = self.serving(worker) {
            serving.stuck = stuck;
        }
        self.end(usize::from(worker.slot));
    }

    /// Busy workers are looked at now and then, if there is a limit that they could break.
    pub(super) fn schedule_probe(&mut self, now: Instant) {
        if self.deadlines.next_probe.is_some() {
            return;
        }
        let limits = self.ready().filter_map(|(_, serving)| {
            let run = serving.flight.tasks().next().and_then(|(_, _, range)| range.policy.run_timeout);
            let looked_for = run.map(|run| (run / 4).clamp(PROBE.0, PROBE.1));
            let memory = (serving.flight.len() > 0 && self.settings.max_memory.is_some()).then_some(PROBE.0);
            looked_for.into_iter().chain(memory).min()
        });
        self.deadlines.next_probe = limits.min().map(|wait| now + wait);
    }

    pub(super) fn probe(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.deadlines.next_probe.is_some_and(|at| at <= now) {
            self.deadlines.next_probe = None;
            let busy = self.ready().filter(|(_, serving)| serving.flight.len() > 0);
            actions.extend(busy.map(|(worker, _)| Action::Probe(worker)));
        }
    }

    pub(super) fn probed(&mut self, worker: WorkerId, seen: Probe, now: Instant, actions: &mut Vec<Action>) {
        let max_memory = self.settings.max_memory;
        let Some(serving) = self.serving(worker) else { return };
        serving.retiring |= seen.resident.zip(max_memory).is_some_and(|(resident, max)| resident > max);
        let running = seen.running.filter(|task| serving.flight.claim_of(*task).is_some());
        // A worker whose tasks are all suspended waits; one that has begun none and runs none does not serve.
        if running.is_none() && seen.begun {
            serving.watch = None;
            return;
        }
        let range = match running {
            Some(task) => serving.flight.range_of(task),
            None => serving.flight.tasks().next().map(|(_, _, range)| range),
        };
        let limit = range
            .and_then(|range| Some(range.policy.run_timeout?.saturating_add(range.policy.grace + GRACE)));
        match (serving.watch, limit) {
            (Some((slice, since)), Some(limit)) if slice == seen.slice => {
                if now.saturating_duration_since(since) >= limit {
                    actions.push(Action::Kill(worker));
                    self.give_up(worker, running);
                }
            }
            (Some((slice, _)), None) if slice == seen.slice => {}
            _ => serving.watch = Some((seen.slice, now)),
        }
    }
}
