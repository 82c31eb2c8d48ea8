//! Scales the number of workers, and divides the slots among guests: started when tasks wait, stopped when idle.

use std::time::{Duration, Instant};

use super::event::Action;
use super::slot::{Slot, WorkerState};
use super::state::{Dispatcher, Mode};
use super::waiting::TaskShape;
use crate::ids::GuestKey;

/// A guest keeps a slot that another one needs until its virtual time is ahead by this: a change of hands costs a process.
const QUANTUM: Duration = Duration::from_millis(50);

/// A worker with several tasks is overloaded if none of them has ended for this time: another one is started, and takes
/// some of them.
const OVERLOAD_AFTER: Duration = Duration::from_millis(5);

impl Dispatcher {
    /// Stops workers that are not needed, and starts those that are.
    pub(super) fn scale(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.mode == Mode::Terminated {
            return;
        }
        self.guests.values_mut().for_each(|guest| guest.breaker.clear_elapsed(now));
        self.retire_excess();
        self.stop_idle(now, actions);
        for guest in self.guests_by_virtual_time() {
            self.scale_up_for(guest, now, actions);
        }
        self.scale_up_overloaded(now, actions);
        self.keep_minimum(now, actions);
        self.remove_unloaded(actions);
    }

    /// Whether [`scale`](Self::scale) may have something to do after tasks were submitted or have ended: tasks wait for a
    /// worker, or a worker is about to be stopped.
    pub(super) fn may_need_scaling(&self) -> bool {
        self.mode != Mode::Open
            || self.guests.values().any(|guest| guest.unloading || !guest.waiting.is_empty())
            || self.ready().any(|(_, state)| state.retiring || self.is_used_up(state))
    }

    /// When [`scale`](Self::scale) has something to do if nothing else happens.
    pub(super) fn next_scaling(&self) -> Option<Instant> {
        if self.mode == Mode::Terminated {
            return None;
        }
        let (live, min) = (self.live(), usize::from(self.settings.min));
        let below = self.mode == Mode::Open && live < min;
        let blocked = self.guests.values().filter(|guest| below || !guest.waiting.is_empty());
        let retries = blocked.filter_map(|guest| guest.breaker.blocked_until());
        let may_shrink = self.staying() > min;
        let idle = self.ready().filter(|(_, state)| may_shrink && state.flight.len() == 0);
        let idle = idle.filter_map(|(_, state)| self.idle_until(state));
        let age = self.settings.max_age;
        let old = self.ready().filter(|(_, state)| !state.retiring && state.is_used());
        let old = old.filter_map(|(_, state)| state.started_at.checked_add(age?));
        let may_grow = live < usize::from(self.settings.max);
        let overloaded = self.ready().filter(|_| may_grow);
        let overloaded = overloaded.filter_map(|(_, state)| self.overloaded_at(state));
        retries.chain(idle).chain(old).chain(overloaded).min()
    }

    /// Whether a guest could use another task now: none waits, and a worker has room or one would be started.
    pub(crate) fn wants_tasks(&self, key: GuestKey) -> bool {
        let Some(guest) = self.guests.get(&key) else { return false };
        let has_room = |(_, state): (usize, &WorkerState)| self.room(state, TaskShape::default()) > 0;
        self.mode == Mode::Open
            && guest.waiting.is_empty()
            && (self.would_scale_up(key) || self.ready_for(key).any(has_room))
    }

    /// Whether a worker would be started for a task of this guest.
    fn would_scale_up(&self, guest: GuestKey) -> bool {
        let served = self.workers().any(|(_, state)| state.guest == guest);
        self.starting_for(guest) == 0 && (!served || self.live() < usize::from(self.settings.max))
    }

    pub(super) fn resize(&mut self, max: u16) {
        (self.settings.min, self.settings.max) = (self.settings.min.min(max), max);
        let slots = usize::from(max);
        if self.slots.len() < slots {
            self.slots.resize_with(slots, || Slot::Vacant);
            self.generations.resize(slots, 0);
        }
    }

    /// The guests with waiting tasks, the one with the least virtual time first.
    fn guests_by_virtual_time(&self) -> Vec<GuestKey> {
        let waiting = self.guests.iter().filter(|(_, guest)| !guest.waiting.is_empty());
        let mut guests: Vec<_> = waiting.map(|(key, guest)| (guest.virtual_time(), *key)).collect();
        guests.sort_unstable();
        guests.into_iter().map(|(_, guest)| guest).collect()
    }

    /// The number of processes that exist or are about to be started.
    fn live(&self) -> usize {
        self.workers().count()
    }

    /// The number of workers that are not about to exit.
    fn staying(&self) -> usize {
        let staying = |slot: &&Slot| match slot {
            Slot::Starting(_) => true,
            Slot::Ready(state) => !state.retiring,
            Slot::Vacant | Slot::Ending(_) => false,
        };
        self.slots.iter().filter(staying).count()
    }

    fn starting_for(&self, guest: GuestKey) -> usize {
        self.slots.iter().filter(|slot| slot.is_starting_for(guest)).count()
    }

    /// Starts workers for tasks that no worker has room for, as far as there are slots.
    fn scale_up_for(&mut self, guest: GuestKey, now: Instant, actions: &mut Vec<Action>) {
        let waiting = self.guests[&guest].waiting.len();
        let mut starting = self.starting_for(guest);
        while starting < waiting && self.guests[&guest].breaker.may_start(starting, now) {
            if self.live() >= usize::from(self.settings.max) {
                self.free_slots(guest, waiting - starting, actions);
                return;
            }
            self.spawn(guest, now, actions);
            starting += 1;
        }
    }

    /// Starts a worker for a guest that has an overloaded one.
    fn scale_up_overloaded(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.live() >= usize::from(self.settings.max) {
            return;
        }
        let is_overloaded = |state: &WorkerState| self.overloaded_at(state).is_some_and(|at| at <= now);
        let Some((_, state)) = self.ready().find(|(_, state)| is_overloaded(state)) else { return };
        let guest = state.guest;
        if self.guests.get(&guest).is_some_and(|guest| guest.breaker.may_start(0, now)) {
            self.spawn(guest, now, actions);
        }
    }

    /// When a worker counts as overloaded, if none of its tasks ends until then. `None` if it has nothing to give away,
    /// or help is there or starting.
    fn overloaded_at(&self, state: &WorkerState) -> Option<Instant> {
        if state.flight.stealable() == 0 {
            return None;
        }
        let available = self.ready_for(state.guest).any(|(_, other)| self.is_available(other));
        if available || self.starting_for(state.guest) > 0 {
            return None;
        }
        let at = state.quiet_since + OVERLOAD_AFTER;
        // No worker can be started earlier, and a deadline that has passed would have the driver ask again and again.
        let blocked = self.guests.get(&state.guest)?.breaker.blocked_until();
        Some(blocked.map_or(at, |until| until.max(at)))
    }

    /// Stops up to `wanted` idle workers of other guests. If none is about to exit then, a worker retires whose guest has
    /// had its share.
    fn free_slots(&mut self, guest: GuestKey, wanted: usize, actions: &mut Vec<Action>) {
        let leaving = |slot: &&Slot| match slot {
            Slot::Ending(_) => true,
            Slot::Ready(state) => state.retiring,
            Slot::Vacant | Slot::Starting(_) => false,
        };
        let mut leaving = self.slots.iter().filter(leaving).count();
        while leaving < wanted {
            let Some(index) = self.idle_worker_of_others(guest) else { break };
            self.stop(index, actions);
            leaving += 1;
        }
        if leaving == 0
            && let Some(index) = self.worker_beyond_its_share(guest)
        {
            self.retire(index, actions);
        }
    }

    /// The slot index of the worker of another guest that has been idle for the longest time.
    fn idle_worker_of_others(&self, guest: GuestKey) -> Option<usize> {
        let idle = self.ready().filter(|(_, state)| state.guest != guest && state.flight.len() == 0);
        idle.map(|(index, state)| (state.idle_since, index)).min().map(|(_, index)| index)
    }

    /// The slot index of a worker whose guest is ahead of `guest` in virtual time, by more than a quantum, or at all while
    /// `guest` has no worker and that one has several.
    fn worker_beyond_its_share(&self, guest: GuestKey) -> Option<usize> {
        let workers = |guest| self.workers().filter(|(_, state)| state.guest == guest).count();
        let (own, virtual_time) = (workers(guest), self.guests[&guest].virtual_time());
        let others = self.ready().filter(|(_, state)| state.guest != guest);
        let victims = others.filter_map(|(index, state)| {
            let theirs = self.guests.get(&state.guest)?.virtual_time();
            let starved = own == 0 && workers(state.guest) > 1;
            let beyond = starved || theirs > virtual_time + QUANTUM;
            beyond.then_some((theirs, u32::MAX - state.flight.len(), index))
        });
        victims.max().map(|(_, _, index)| index)
    }

    /// Has workers retire that are more than the maximum, those with the fewest tasks first.
    fn retire_excess(&mut self) {
        let excess = self.staying().saturating_sub(usize::from(self.settings.max));
        for _ in 0..excess {
            let ready = self.slots.iter_mut().filter_map(Slot::ready_mut).filter(|state| !state.retiring);
            let Some(state) = ready.min_by_key(|state| state.flight.len()) else { return };
            state.retiring = true;
        }
    }

    /// Stops workers that have no task and are not needed: retiring ones, used ones, those of unloaded guests, those that
    /// have been idle for too long, and all of them when the pool is closing.
    fn stop_idle(&mut self, now: Instant, actions: &mut Vec<Action>) {
        // No worker is stopped as long as tasks of an ending one may have to be retried.
        let finished = self.mode == Mode::Closing
            && self.queued() == 0
            && self.workers().all(|(_, state)| state.flight.len() == 0);
        let mut spare = self.staying().saturating_sub(usize::from(self.settings.min));
        for index in 0..self.slots.len() {
            let (Slot::Starting(state) | Slot::Ready(state)) = &self.slots[index] else { continue };
            if state.flight.len() > 0 {
                continue;
            }
            let useless = finished || self.is_useless(state);
            let ready = self.slots[index].ready().is_some();
            let idle = ready && spare > 0 && self.idle_until(state).is_some_and(|at| at <= now);
            if useless || idle {
                spare = spare.saturating_sub(1);
                self.stop(index, actions);
            }
        }
    }

    /// Whether a worker will get no task any more.
    fn is_useless(&self, state: &WorkerState) -> bool {
        let guest = self.guests.get(&state.guest);
        state.retiring
            || self.is_used_up(state)
            || guest.is_none_or(|guest| guest.unloading && guest.waiting.is_empty())
    }

    fn idle_until(&self, state: &WorkerState) -> Option<Instant> {
        self.settings.idle.and_then(|idle| state.idle_since.checked_add(idle))
    }

    /// Keeps the minimum number of workers, for the first guest that can have one.
    fn keep_minimum(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.mode != Mode::Open {
            return;
        }
        while self.live() < usize::from(self.settings.min.min(self.settings.max)) {
            let able = self.guests.iter().find(|(key, guest)| {
                !guest.unloading && guest.breaker.may_start(self.starting_for(**key), now)
            });
            let Some((&guest, _)) = able else { return };
            self.spawn(guest, now, actions);
        }
    }
}
