//! Assigns tasks to workers: sent ahead in small batches, and taken back where they would wait.

use std::ops::Bound;
use std::time::{Duration, Instant};

use super::event::{Action, Recall};
use super::slot::WorkerState;
use super::state::Dispatcher;
use super::waiting::TaskShape;
use crate::ids::GuestKey;
use wpool_wire::control::MAX_STARTED;

/// A worker has tasks ahead for this time, by the average of their run times.
const WORK_AHEAD: Duration = Duration::from_millis(1);
/// The maximum number of tasks that are sent ahead, however short they are. Twice as many are in
/// flight; with 127 suspended tasks they fit the 1024 claim words of the control page.
const MAX_AHEAD: u32 = 256;

impl Dispatcher {
    /// Sends waiting tasks to workers with room for them, and takes tasks back for idle workers.
    pub(super) fn assign(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let mut last = None;
        while let Some(guest) = self.next_with_tasks(last) {
            last = Some(guest);
            self.send_suspects(guest, now, actions);
            // Each worker gets its share, so that the first one does not take all.
            let workers = self.ready_for(guest).count();
            let share = self.guests[&guest].waiting.len().div_ceil(workers.max(1));
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            while let Some(index) = self.least_loaded(guest) {
                if !self.send_to(index, share, now, actions) {
                    break;
                }
            }
        }
        self.steal(actions);
    }

    /// The guest after `last` that has waiting tasks.
    fn next_with_tasks(&self, last: Option<GuestKey>) -> Option<GuestKey> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.guests.range((start, Bound::Unbounded));
        later.find(|(_, guest)| !guest.waiting.is_empty()).map(|(key, _)| *key)
    }

    /// How many more tasks of a shape a worker takes now. Twice the work ahead is in flight, so that the worker runs one
    /// half while the other is fetched; a refill of less than a quarter of that is not worth a message.
    pub(super) fn room(&self, state: &WorkerState, shape: TaskShape) -> u32 {
        if shape.depth < self.least_depth(state) {
            return 0;
        }
        let (capacity, least) =
            self.ahead(state.guest, shape).map_or((1, 1), |ahead| (ahead * 2, ahead.div_ceil(2)));
        let left = match self.settings.max_tasks {
            Some(max) if shape.depth == 0 => max.saturating_sub(state.sent),
            _ => u32::MAX,
        };
        let room = capacity.saturating_sub(state.flight.active()).min(left);
        if room >= least.min(left) { room.min(self.free_started_slots(state, shape.depth)) } else { 0 }
    }

    /// How many tasks of a shape a worker should have ahead: the chunk size that was asked for, or as many as their
    /// average run time allows. `None` if no task of the function has ended yet.
    fn ahead(&self, guest: GuestKey, shape: TaskShape) -> Option<u32> {
        if let Some(chunk) = shape.chunk {
            return Some(chunk.clamp(1, MAX_AHEAD));
        }
        let average = self.guests.get(&guest)?.average_run(shape.function)?;
        let count = WORK_AHEAD.as_nanos() / average.as_nanos().max(1);
        Some(u32::try_from(count).unwrap_or(MAX_AHEAD).clamp(1, MAX_AHEAD))
    }

    /// How many more tasks of a depth can start in a worker. If tasks have sub-tasks, one slot for started tasks stays
    /// free for each depth below: a task that awaits another never keeps that one from starting.
    fn free_started_slots(&self, state: &WorkerState, depth: u8) -> u32 {
        let deepest = self.max_depth(state);
        if deepest == 0 {
            return if state.flight.is_full() { 0 } else { u32::MAX };
        }
        (MAX_STARTED - u32::from(deepest.saturating_sub(depth))).saturating_sub(state.flight.len())
    }

    /// A worker gets no tasks above this depth now. One that retires or is reserved for a suspect still gets the
    /// sub-tasks that its own tasks may await.
    fn least_depth(&self, state: &WorkerState) -> u8 {
        let deepest = self.max_depth(state);
        let closed = state.exclusive || state.retiring;
        let closed = if closed && !state.flight.any_suspended() { deepest + 1 } else { u8::from(closed) };
        let with_slot = (0..=deepest).find(|&depth| self.free_started_slots(state, depth) > 0);
        closed.max(with_slot.unwrap_or(deepest + 1))
    }

    fn max_depth(&self, state: &WorkerState) -> u8 {
        self.guests.get(&state.guest).map_or(0, |guest| guest.max_depth)
    }

    /// Whether a worker is idle and takes tasks of any depth. One whose slots for started tasks are taken by suspended
    /// tasks must not count: tasks stolen for it return to their worker and are stolen again, for ever.
    pub(super) fn is_available(&self, state: &WorkerState) -> bool {
        state.flight.active() == 0 && self.least_depth(state) == 0 && !self.is_used_up(state)
    }

    /// The shape of the next task for a worker.
    fn next_shape_for(&self, state: &WorkerState) -> Option<TaskShape> {
        self.guests.get(&state.guest)?.waiting.next_shape(self.least_depth(state))
    }

    /// The slot index of the guest's worker with the fewest active tasks, among those with room for the next task.
    fn least_loaded(&self, guest: GuestKey) -> Option<usize> {
        let has_room = |state: &WorkerState| {
            let shape = self.next_shape_for(state);
            shape.is_some_and(|shape| self.room(state, shape) > 0)
        };
        let with_room = self.ready_for(guest).filter(|(_, state)| has_room(state));
        with_room.min_by_key(|(_, state)| state.flight.active()).map(|(index, _)| index)
    }

    /// Sends a worker as many tasks as it has room for, at most `share`. Returns whether it was sent any.
    fn send_to(&mut self, index: usize, share: u32, now: Instant, actions: &mut Vec<Action>) -> bool {
        let Some(state) = self.slots[index].ready() else { return false };
        let Some(shape) = self.next_shape_for(state) else { return false };
        let room = self.room(state, shape).min(share);
        let worker = self.worker_id(index);
        let Some(state) = self.slots[index].ready_mut() else { return false };
        let Some(guest) = self.guests.get_mut(&state.guest) else { return false };
        let Some((claim, free)) = state.flight.free_claims(room) else { return false };
        let Some(range) = guest.waiting.take(free, shape.depth) else { return false };
        state.add(range, claim, now);
        actions.push(Action::Send { worker, range, claim });
        true
    }

    /// Sends crash suspects, each to a worker that has no other task. If there is none, the one with the fewest tasks is
    /// reserved: it gets no more until it has none.
    fn send_suspects(&mut self, guest: GuestKey, now: Instant, actions: &mut Vec<Action>) {
        while self.guests.get(&guest).is_some_and(|guest| guest.waiting.any_suspect()) {
            let Some(index) = self.worker_for_suspect(guest) else { return };
            let worker = self.worker_id(index);
            let Some(state) = self.slots[index].ready_mut() else { return };
            state.exclusive = true;
            if state.flight.len() > 0 {
                return;
            }
            let Some((claim, _)) = state.flight.free_claims(1) else { return };
            let Some(guest) = self.guests.get_mut(&guest) else { return };
            let Some(range) = guest.waiting.take_suspect() else { return };
            state.add(range, claim, now);
            actions.push(Action::Send { worker, range, claim });
        }
    }

    /// The slot index of the worker with the fewest tasks that can be reserved for a suspect.
    fn worker_for_suspect(&self, guest: GuestKey) -> Option<usize> {
        let open = |state: &WorkerState| {
            let reserved = state.exclusive && state.flight.len() > 0;
            !state.retiring && !self.is_used_up(state) && !reserved
        };
        let open = self.ready_for(guest).filter(|(_, state)| open(state));
        open.min_by_key(|(_, state)| state.flight.len()).map(|(index, _)| index)
    }

    /// Takes tasks back for available workers of guests without waiting tasks.
    fn steal(&mut self, actions: &mut Vec<Action>) {
        if !self.ready().any(|(_, state)| state.flight.stealable() > 0) {
            return;
        }
        let available = self.ready().filter(|(_, state)| self.is_available(state));
        let guests: Vec<GuestKey> = available.map(|(_, state)| state.guest).collect();
        for guest in guests {
            if self.guests.get(&guest).is_some_and(|guest| guest.waiting.is_empty()) {
                self.steal_for(guest, actions);
            }
        }
    }

    /// Takes tasks back from the guest's worker with the most to steal.
    fn steal_for(&mut self, guest: GuestKey, actions: &mut Vec<Action>) {
        let victims =
            self.slots.iter_mut().enumerate().filter_map(|(index, slot)| Some((index, slot.ready_mut()?)));
        let victims = victims.filter(|(_, state)| state.guest == guest && !state.steal_requested);
        let victims = victims.filter(|(_, state)| state.flight.stealable() > 0);
        let Some((index, state)) = victims.max_by_key(|(_, state)| state.flight.stealable()) else { return };
        state.steal_requested = true;
        let tasks = state.flight.latest(state.flight.stealable());
        actions.push(Action::Recall { worker: self.worker_id(index), tasks, why: Recall::Steal });
    }
}
