//! The life of a worker: started, ready, retired, stopped or killed, and gone.

use std::time::Instant;

use super::event::{Action, Recall};
use super::retries::ExitReport;
use super::slot::{Slot, WorkerState};
use super::state::{Dispatcher, Mode};
use crate::error::TaskError;
use crate::ids::{GuestKey, TaskId, WorkerId};

impl Dispatcher {
    /// Starts a worker for a guest if a slot is vacant.
    pub(super) fn spawn(&mut self, guest: GuestKey, now: Instant, actions: &mut Vec<Action>) {
        let Some(index) = self.slots.iter().position(Slot::is_vacant) else { return };
        self.generations[index] += 1;
        self.slots[index] = Slot::Starting(Box::new(WorkerState::new(guest, now)));
        actions.push(Action::Spawn { worker: self.worker_id(index), guest });
    }

    pub(super) fn spawn_failed(
        &mut self,
        worker: WorkerId,
        message: String,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slot_mut(worker) else { return };
        if let Slot::Starting(state) = std::mem::replace(slot, Slot::Vacant) {
            self.count_failure(state.guest, message, now, actions);
        }
    }

    pub(super) fn worker_ready(&mut self, worker: WorkerId, now: Instant, actions: &mut Vec<Action>) {
        let Some(slot) = self.slot_mut(worker) else { return };
        match std::mem::replace(slot, Slot::Vacant) {
            Slot::Starting(mut state) => {
                state.idle_since = now;
                *slot = Slot::Ready(state);
            }
            // It was stopped or killed before it could answer.
            ending @ Slot::Ending(_) => *slot = ending,
            other => {
                *slot = other;
                actions.push(Action::Violation { worker, what: "it was ready twice" });
            }
        }
    }

    pub(super) fn worker_exited(
        &mut self,
        worker: WorkerId,
        report: ExitReport,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slot_mut(worker) else { return };
        let (state, starting, ready) = match std::mem::replace(slot, Slot::Vacant) {
            Slot::Vacant => return,
            Slot::Starting(state) => (state, true, false),
            Slot::Ready(state) => (state, false, true),
            Slot::Ending(state) => (state, false, false),
        };
        let (guest, unused) = (state.guest, !state.is_used());
        let crashed = ready && !report.exit.is_external();
        let message = report.message.clone().unwrap_or_else(|| report.exit.to_string());
        if self.mode != Mode::Terminated {
            self.retry_lost(*state, &report, actions);
        }
        // A worker that exits by itself without having had a task most likely never will have one.
        if starting || (crashed && unused) {
            self.count_failure(guest, message, now, actions);
        } else if crashed {
            self.count_crash(guest, message, now, actions);
        }
    }

    /// Tells the guest's breaker that a worker could not start, or exited before it had a task.
    fn count_failure(&mut self, guest: GuestKey, message: String, now: Instant, actions: &mut Vec<Action>) {
        if self.guests.get_mut(&guest).is_some_and(|guest| guest.breaker.failed(message, now)) {
            self.fail_fast(guest, now, actions);
        }
    }

    /// Tells the guest's breaker that a worker crashed.
    fn count_crash(&mut self, guest: GuestKey, message: String, now: Instant, actions: &mut Vec<Action>) {
        if self.guests.get_mut(&guest).is_some_and(|guest| guest.breaker.crashed(message, now)) {
            self.fail_fast(guest, now, actions);
        }
    }

    /// Has a worker retire: it gets no more tasks, those that have not begun are taken back, and it is stopped when it
    /// has none left.
    pub(super) fn retire(&mut self, index: usize, actions: &mut Vec<Action>) {
        let worker = self.worker_id(index);
        let Some(state) = self.slots[index].ready_mut() else { return };
        state.retiring = true;
        let tasks: Vec<_> = state.flight.tasks().map(|(task, claim, _)| (task, claim)).collect();
        if !tasks.is_empty() {
            actions.push(Action::Recall { worker, tasks, why: Recall::Steal });
        }
    }

    /// Has workers retire that are too old. One that has had no task is as good as its replacement would be.
    pub(super) fn retire_old(&mut self, now: Instant) {
        let Some(age) = self.settings.max_age else { return };
        for state in self.slots.iter_mut().filter_map(Slot::ready_mut).filter(|state| state.is_used()) {
            state.retiring |= now.saturating_duration_since(state.started_at) >= age;
        }
    }

    /// Closes a worker's connection. It exits by itself.
    pub(super) fn stop(&mut self, index: usize, actions: &mut Vec<Action>) {
        actions.push(Action::Stop(self.worker_id(index)));
        self.await_exit(index);
    }

    /// Kills a worker because of a task that does not end, or because it begins none.
    pub(super) fn kill_worker(&mut self, worker: WorkerId, stuck: Option<TaskId>, actions: &mut Vec<Action>) {
        if let Some(state) = self.ready_mut(worker) {
            state.stuck = stuck;
        }
        actions.push(Action::Kill(worker));
        self.await_exit(usize::from(worker.slot));
    }

    /// Fails all tasks, and kills all workers.
    pub(super) fn terminate(&mut self, actions: &mut Vec<Action>) {
        self.mode = Mode::Terminated;
        let waiting = self.guests.values_mut().flat_map(|guest| guest.waiting.drain());
        let in_flight =
            self.slots.iter_mut().filter_map(Slot::worker_mut).flat_map(|state| state.flight.drain());
        let ranges: Vec<_> = waiting.chain(in_flight).collect();
        for range in ranges {
            self.fail(range, TaskError::PoolClosed, actions);
        }
        for index in 0..self.slots.len() {
            if !self.slots[index].is_vacant() {
                actions.push(Action::Kill(self.worker_id(index)));
                self.await_exit(index);
            }
        }
    }

    /// From now on the worker gets nothing, and its exit is awaited.
    fn await_exit(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        *slot = match std::mem::replace(slot, Slot::Vacant) {
            Slot::Starting(state) | Slot::Ready(state) => Slot::Ending(state),
            other => other,
        };
    }
}
