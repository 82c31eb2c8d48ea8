//! The events of guests: loaded, unloaded, and without a worker that can be started.

use std::time::Instant;

use super::event::Action;
use super::guest_queue::GuestQueue;
use super::state::Dispatcher;
use crate::error::TaskError;
use crate::ids::GuestKey;

impl Dispatcher {
    pub(super) fn load(&mut self, guest: GuestKey, weight: u32, depth: u8) {
        self.guests.insert(guest, GuestQueue::new(weight, depth));
    }

    pub(super) fn unload(&mut self, guest: GuestKey) {
        if let Some(guest) = self.guests.get_mut(&guest) {
            guest.unloading = true;
        }
    }

    /// Fails the tasks that wait while the guest's breaker is open and no worker serves it.
    pub(super) fn fail_fast(&mut self, guest: GuestKey, now: Instant, actions: &mut Vec<Action>) {
        let served = self.ready_for(guest).next().is_some();
        let Some(guest) = self.guests.get_mut(&guest).filter(|_| !served) else { return };
        let Some(message) = guest.breaker.cause(now).map(str::to_owned) else { return };
        let error = TaskError::NoWorker { message };
        for range in guest.waiting.drain() {
            self.fail(range, error.clone(), actions);
        }
    }

    /// Removes unloaded guests that have no task and no worker any more.
    pub(super) fn remove_unloaded(&mut self, actions: &mut Vec<Action>) {
        let slots = &self.slots;
        self.guests.retain(|key, guest| {
            let served = || slots.iter().filter_map(|slot| slot.worker()).any(|state| state.guest == *key);
            let stays = !guest.unloading || !guest.waiting.is_empty() || served();
            if !stays {
                actions.push(Action::Unloaded(*key));
            }
            stays
        });
    }
}
