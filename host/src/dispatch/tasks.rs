//! The events of tasks: submitted, done, suspended, taken back, cancelled.

use std::time::{Duration, Instant};

use super::event::{Action, Recall, TaskEnd};
use super::expiry;
use super::guest_queue::GuestQueue;
use super::range::Range;
use super::slot::{Slot, WorkerState};
use super::state::{Dispatcher, Mode};
use crate::error::TaskError;
use crate::ids::{TaskId, WorkerId};

impl Dispatcher {
    pub(super) fn submitted(&mut self, range: Range, now: Instant, actions: &mut Vec<Action>) {
        // The tasks of an unloaded guest are finished, and sub-tasks are a part of them.
        let accepts = |guest: &&mut GuestQueue| !guest.unloading || range.policy.depth > 0;
        let Some(guest) = self.guests.get_mut(&range.guest).filter(accepts) else {
            actions.push(Action::Fail { range, error: TaskError::GuestUnloaded });
            return;
        };
        if self.mode == Mode::Terminated {
            actions.push(Action::Fail { range, error: TaskError::PoolClosed });
            return;
        }
        if guest.waiting.is_empty() {
            let active = self.guests.values().filter(|guest| !guest.waiting.is_empty());
            let least = active.map(GuestQueue::virtual_time).min();
            let guest = self.guests.get_mut(&range.guest).expect("it was found above");
            guest.raise_virtual_time(least);
        }
        self.deadlines.add(&range);
        self.enqueue(range);
        self.fail_fast(range.guest, now, actions);
    }

    pub(super) fn done(
        &mut self,
        worker: WorkerId,
        tasks: &[(TaskId, Duration)],
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        for (nth, &(task, run)) in tasks.iter().enumerate() {
            let Some(state) = self.ready_mut(worker) else { return };
            let Some((_, range)) = state.flight.remove(task) else {
                actions.push(Action::Violation { worker, what: "it ended a task that it does not have" });
                return;
            };
            note_progress(state, now);
            let reason = self.deadlines.ended(task);
            self.forget(&range);
            let attempts = range.history.attempts() + 1;
            let Range { job, index, guest, function, .. } = range;
            let run_timeout = range.policy.run_timeout;
            let end = TaskEnd { task, job, index, guest, function, worker, attempts, run_timeout, reason };
            actions.push(Action::Complete { nth, end });
            if let Some(guest) = self.guests.get_mut(&range.guest) {
                guest.record_run(range.function, run);
                guest.breaker.succeeded();
            }
        }
    }

    pub(super) fn suspended(&mut self, worker: WorkerId, task: TaskId, actions: &mut Vec<Action>) {
        let Some(state) = self.ready_mut(worker) else { return };
        if !state.flight.suspend(task) {
            actions.push(Action::Violation { worker, what: "it suspended a task that it does not have" });
        }
    }

    pub(super) fn resumed(&mut self, worker: WorkerId, task: TaskId) {
        if let Some(state) = self.ready_mut(worker) {
            state.flight.resume(task);
        }
    }

    /// A task has had an effect outside of its instance. It changes no decision before its worker ends.
    pub(crate) fn acted(&mut self, worker: WorkerId, task: TaskId) {
        // Also in a worker that is about to end: what it sent before counts.
        if let Some(state) = self.slot_mut(worker).and_then(Slot::worker_mut) {
            state.flight.mark_acted(task);
        }
    }

    pub(super) fn recalled(
        &mut self,
        worker: WorkerId,
        taken: &[TaskId],
        why: Recall,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(state) = self.ready_mut(worker) else { return };
        if taken.iter().any(|task| state.flight.has_acted(*task)) {
            actions.push(Action::Violation { worker, what: "it gave back a task that has acted" });
            return;
        }
        for range in take_back(state, taken, now) {
            match why {
                Recall::Cancel => self.fail(range, TaskError::Cancelled, actions),
                Recall::Late => self.fail(range, expiry::late(&range), actions),
                Recall::Steal | Recall::End => self.enqueue_or_end(range, actions),
            }
        }
        if why == Recall::End {
            self.tell_to_end(worker, now, actions);
        }
    }

    pub(super) fn cancel(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        if self.cancel_waiting(task, actions) {
            return;
        }
        if let Some((worker, claim)) = self.ready_holder(task) {
            actions.push(Action::Recall { worker, tasks: vec![(task, claim)], why: Recall::Cancel });
        }
    }

    /// Cancels a task if it waits. Returns whether it did.
    pub(super) fn cancel_waiting(&mut self, task: TaskId, actions: &mut Vec<Action>) -> bool {
        let range = self.guests.values_mut().find_map(|guest| guest.waiting.remove(task));
        range.map(|range| self.fail(range, TaskError::Cancelled, actions)).is_some()
    }

    /// Cancels the tasks of all ranges that are `unwanted`, except for those that have begun.
    pub(super) fn cancel_where(&mut self, unwanted: impl Fn(&Range) -> bool, actions: &mut Vec<Action>) {
        let guests = self.guests.values_mut();
        let waiting: Vec<Range> = guests.flat_map(|guest| guest.waiting.remove_where(&unwanted)).collect();
        for range in waiting {
            self.fail(range, TaskError::Cancelled, actions);
        }
        for (index, state) in self.ready() {
            let tasks = state.flight.tasks().filter(|(_, _, range)| unwanted(range));
            let tasks: Vec<_> = tasks.map(|(task, claim, _)| (task, claim)).collect();
            if !tasks.is_empty() {
                actions.push(Action::Recall { worker: self.worker_id(index), tasks, why: Recall::Cancel });
            }
        }
    }
}

/// A task of the worker has ended.
fn note_progress(state: &mut WorkerState, now: Instant) {
    state.exclusive = false;
    state.steal_requested = false;
    state.worked = true;
    state.quiet_since = now;
    if state.flight.len() == 0 {
        state.idle_since = now;
    }
}

/// Removes tasks from a worker that have not begun there.
fn take_back(state: &mut WorkerState, taken: &[TaskId], now: Instant) -> Vec<Range> {
    // A recall that took nothing would take nothing again.
    state.steal_requested &= taken.is_empty();
    state.sent = state.sent.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
    let ranges = taken.iter().filter_map(|&task| state.flight.remove(task).map(|(_, range)| range));
    let ranges = Range::joined(ranges);
    state.exclusive &= state.flight.len() > 0;
    if state.flight.len() == 0 {
        state.idle_since = now;
    }
    ranges
}
