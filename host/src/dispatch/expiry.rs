//! The end of tasks before they are done: because a deadline has passed, or because they are killed.

use std::time::{Duration, Instant};

use super::deadlines::{DeadlineKind, Expired};
use super::event::{Action, Recall};
use super::range::Range;
use super::state::Dispatcher;
use crate::error::{Clock, TaskError};
use crate::ids::{TaskId, WorkerId};

/// A worker is killed this long after it should have ended a task itself.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// A longer grace, such as `Duration::MAX`, is shortened to this: 100 years, which the clock can represent.
const LONGEST_GRACE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Dispatcher {
    /// Ends the tasks whose deadlines have passed.
    pub(super) fn expire(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some(expired) = self.deadlines.take_expired(now) {
            let waiting = self.expire_waiting(&expired, actions);
            self.expire_in_flight(&expired, expired.live.saturating_sub(waiting), actions);
        }
    }

    /// Fails those tasks that wait. Returns their number.
    fn expire_waiting(&mut self, expired: &Expired, actions: &mut Vec<Action>) -> u64 {
        let Some(guest) = self.guests.get_mut(&expired.guest) else { return 0 };
        let removed = guest.waiting.remove_between(expired.rank, expired.first, expired.end);
        let count = removed.iter().map(|range| u64::from(range.count)).sum();
        for range in removed {
            self.fail(range, timeout(expired), actions);
        }
        count
    }

    /// Takes those `count` tasks back that workers have, or has them end.
    fn expire_in_flight(&mut self, expired: &Expired, mut count: u64, actions: &mut Vec<Action>) {
        for index in 0..self.slots.len() {
            if count == 0 {
                return;
            }
            let Some(state) = self.slots[index].worker().filter(|state| state.guest == expired.guest) else {
                continue;
            };
            let tasks = state.flight.tasks_between(expired.first, expired.end);
            count = count.saturating_sub(tasks.len() as u64);
            match expired.kind {
                DeadlineKind::Begin => self.recall_late(index, tasks, actions),
                DeadlineKind::End => self.end_in_flight(index, tasks, &timeout(expired), actions),
            }
        }
    }

    /// Takes tasks back that have not begun in time, unless they have begun by now.
    fn recall_late(&self, index: usize, tasks: Vec<(TaskId, u32)>, actions: &mut Vec<Action>) {
        if !tasks.is_empty() && self.slots[index].ready().is_some() {
            actions.push(Action::Recall { worker: self.worker_id(index), tasks, why: Recall::Late });
        }
    }

    /// Ends a task. One that has not begun is cancelled.
    pub(super) fn kill(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        if self.cancel_waiting(task, actions) {
            return;
        }
        if let Some((worker, claim)) = self.holder(task) {
            self.end_in_flight(usize::from(worker.slot), vec![(task, claim)], &TaskError::Killed, actions);
        }
    }

    /// Has tasks of one worker end. They are taken back, and those that have begun are ended by the worker.
    fn end_in_flight(
        &mut self,
        index: usize,
        mut tasks: Vec<(TaskId, u32)>,
        reason: &TaskError,
        actions: &mut Vec<Action>,
    ) {
        tasks.retain(|(task, _)| self.deadlines.end(*task, reason));
        let worker = self.worker_id(index);
        // A worker that is about to exit takes the tasks with it: they are not retried.
        let Some(state) = self.slots[index].ready_mut().filter(|_| !tasks.is_empty()) else { return };
        state.to_end.extend(tasks.iter().map(|(task, _)| *task));
        actions.push(Action::Recall { worker, tasks, why: Recall::End });
    }

    /// Has tasks wait again that were taken back, except for those that are to end.
    pub(super) fn enqueue_or_end(&mut self, range: Range, actions: &mut Vec<Action>) {
        if !self.deadlines.any_ending() {
            self.enqueue(range);
            return;
        }
        for task in range.tasks() {
            let (_, one, _) = range.isolate(task);
            match self.deadlines.ended(task) {
                // A task that has not begun is cancelled by killing it.
                Some(TaskError::Killed) => self.fail(one, TaskError::Cancelled, actions),
                Some(reason) => self.fail(one, reason, actions),
                None => self.enqueue(one),
            }
        }
    }

    /// Tells a worker to end those tasks that could not be taken back.
    pub(super) fn tell_to_end(&mut self, worker: WorkerId, now: Instant, actions: &mut Vec<Action>) {
        let Some(state) = self.ready_mut(worker) else { return };
        let tasks = std::mem::take(&mut state.to_end);
        for task in tasks {
            let Some((claim, range)) = self.task_of(worker, task) else { continue };
            if self.deadlines.tell(task, now + range.policy.grace.min(LONGEST_GRACE) + GRACE) {
                actions.push(Action::EndTask { worker, task, claim });
            }
        }
    }

    /// Kills workers that did not end a task when they were told to.
    pub(super) fn kill_overdue(&mut self, now: Instant, actions: &mut Vec<Action>) {
        while let Some(task) = self.deadlines.take_kill(now) {
            if let Some((worker, _)) = self.ready_holder(task) {
                self.kill_worker(worker, Some(task), actions);
            }
        }
    }
}

/// The error of tasks that did not begin in time.
pub(super) fn late(range: &Range) -> TaskError {
    let limit = range.policy.begin_by.map(|(_, limit)| limit).unwrap_or_default();
    TaskError::Timeout { clock: Clock::Queue, limit }
}

fn timeout(expired: &Expired) -> TaskError {
    let clock = match expired.kind {
        DeadlineKind::Begin => Clock::Queue,
        DeadlineKind::End => Clock::Total,
    };
    TaskError::Timeout { clock, limit: expired.limit }
}
