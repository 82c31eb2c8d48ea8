//! Which worker runs what: tasks are sent ahead in small measure, and taken back where they would wait.

use std::ops::Bound;
use std::time::{Duration, Instant};

use super::staffing::{Serving, Slot};
use super::waiting::Kind;
use super::{Action, Dispatcher, Recall};
use crate::ids::GuestKey;
use wpool_wire::control::MAX_STARTED;

/// So much work a worker has ahead of it, by the measured time of its tasks.
const AHEAD: Duration = Duration::from_millis(1);
/// The most tasks that are sent ahead, however short they are. Twice as many fit the control page.
const MAX_AHEAD: u32 = 256;

impl Dispatcher {
    /// Gives workers what waits, and takes back for idle ones what waits behind others.
    pub(super) fn share_out(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let mut last = None;
        while let Some(guest) = self.next_with_work(last) {
            last = Some(guest);
            self.send_suspects(guest, now, actions);
            // What is there is shared out, so that the first worker does not take it all.
            let workers = self.ready().filter(|(_, serving)| serving.guest == guest).count();
            let share = self.guests[&guest].waiting.len().div_ceil(workers.max(1));
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            while let Some(place) = self.hungriest(guest) {
                if !self.fill_one(guest, place, share, now, actions) {
                    break;
                }
            }
        }
        self.steal(actions);
    }

    /// The guest after this one that has something waiting.
    fn next_with_work(&self, last: Option<GuestKey>) -> Option<GuestKey> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.guests.range((start, Bound::Unbounded));
        later.find(|(_, tenant)| !tenant.waiting.is_empty()).map(|(guest, _)| *guest)
    }

    /// How many tasks like these a worker should have ahead: as many as somebody wants, or by their measured time,
    /// and one until something was measured.
    fn target(&self, guest: GuestKey, kind: Kind) -> Option<u32> {
        if let Some(chunk) = kind.chunk {
            return Some(chunk.clamp(1, MAX_AHEAD));
        }
        let average = self.guests.get(&guest)?.average(kind.function)?;
        let count = AHEAD.as_nanos() / average.as_nanos().max(1);
        Some(u32::try_from(count).unwrap_or(MAX_AHEAD).clamp(1, MAX_AHEAD))
    }

    /// How many more tasks like these a worker takes now. Twice the work ahead is on its way, so that
    /// it runs one half while the other is fetched; small refills wait until they are worth a message.
    pub(super) fn room(&self, serving: &Serving, kind: Kind) -> u32 {
        if kind.depth < self.least_depth(serving) {
            return 0;
        }
        let (capacity, least) =
            self.target(serving.guest, kind).map_or((1, 1), |target| (target * 2, target.div_ceil(2)));
        let left = match self.settings.max_tasks {
            Some(max) if kind.depth == 0 => max.saturating_sub(serving.sent),
            _ => u32::MAX,
        };
        let room = capacity.saturating_sub(serving.flight.active()).min(left);
        if room >= least.min(left) { room.min(self.seats(serving, kind.depth)) } else { 0 }
    }

    /// How many more tasks of this depth a worker can have. If tasks have sub-tasks, one seat stays free for each
    /// depth below: a task that waits for another never keeps that one from beginning, whatever else waits.
    fn seats(&self, serving: &Serving, depth: u8) -> u32 {
        let deepest = self.guests.get(&serving.guest).map_or(0, |tenant| tenant.depth);
        if deepest == 0 {
            return if serving.flight.is_full() { 0 } else { u32::MAX };
        }
        (MAX_STARTED - u32::from(deepest.saturating_sub(depth))).saturating_sub(serving.flight.len())
    }

    /// What lies less deep a worker does not get now. One that is to go, or to run a suspect alone, still gets the
    /// sub-tasks that its own tasks may wait for.
    fn least_depth(&self, serving: &Serving) -> u8 {
        let deepest = self.guests.get(&serving.guest).map_or(0, |tenant| tenant.depth);
        let closed = serving.exclusive || serving.retiring;
        let closed = if closed && !serving.flight.any_suspended() { deepest + 1 } else { u8::from(closed) };
        let seated = (0..=deepest).find(|&depth| self.seats(serving, depth) > 0);
        closed.max(seated.unwrap_or(deepest + 1))
    }

    /// Whether a worker has nothing to do and would take whatever there is. One whose seats are taken by tasks that
    /// wait would not, and what was taken back for it would go where it came from.
    pub(super) fn could_help(&self, serving: &Serving) -> bool {
        serving.flight.active() == 0 && self.least_depth(serving) == 0 && !self.is_used_up(serving)
    }

    /// What is next for a worker.
    fn next_kind_for(&self, serving: &Serving) -> Option<Kind> {
        self.guests.get(&serving.guest)?.waiting.next_kind(self.least_depth(serving))
    }

    /// The place of the worker with the least to do, among those with room for what waits.
    fn hungriest(&self, guest: GuestKey) -> Option<usize> {
        let has_room = |serving: &Serving| {
            let kind = self.next_kind_for(serving);
            kind.is_some_and(|kind| self.room(serving, kind) > 0)
        };
        let with_room = self.slots.iter().enumerate().filter_map(|(place, slot)| match slot {
            Slot::Ready(serving) if serving.guest == guest && has_room(serving) => {
                Some((place, serving.flight.active()))
            }
            _ => None,
        });
        with_room.min_by_key(|(_, len)| *len).map(|(place, _)| place)
    }

    /// Sends a worker as much as it has room for. False if it could not be sent anything.
    fn fill_one(
        &mut self,
        guest: GuestKey,
        place: usize,
        share: u32,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> bool {
        let worker = self.id(place);
        let Slot::Ready(serving) = &self.slots[place] else { return false };
        let Some(kind) = self.next_kind_for(serving) else { return false };
        let room = self.room(serving, kind).min(share);
        let (Slot::Ready(serving), Some(tenant)) = (&mut self.slots[place], self.guests.get_mut(&guest))
        else {
            return false;
        };
        let Some((claim, free)) = serving.flight.free_claims(room) else { return false };
        let Some(range) = tenant.waiting.take(free, kind.depth) else { return false };
        serving.give(range, claim, now);
        actions.push(Action::Send { worker, range, claim });
        true
    }

    /// A suspect runs where nothing else does. If no worker is idle, the one with the least to do gets
    /// nothing more until it is.
    fn send_suspects(&mut self, guest: GuestKey, now: Instant, actions: &mut Vec<Action>) {
        while self.guests.get(&guest).is_some_and(|tenant| tenant.waiting.next_suspect().is_some()) {
            let left = self.settings.max_tasks;
            let candidate = self
                .slots
                .iter_mut()
                .enumerate()
                .filter_map(|(place, slot)| match slot {
                    Slot::Ready(serving)
                        if serving.guest == guest
                            && !serving.retiring
                            && left.is_none_or(|max| serving.sent < max)
                            && (serving.flight.len() == 0 || !serving.exclusive) =>
                    {
                        Some((place, serving))
                    }
                    _ => None,
                })
                .min_by_key(|(_, serving)| serving.flight.len());
            let Some((place, serving)) = candidate else { return };
            serving.exclusive = true;
            if serving.flight.len() > 0 {
                return;
            }
            let Some((claim, _)) = serving.flight.free_claims(1) else { return };
            let Some(range) = self.guests.get_mut(&guest).and_then(|tenant| tenant.waiting.take_suspect())
            else {
                return;
            };
            serving.give(range, claim, now);
            serving.exclusive = true;
            actions.push(Action::Send { worker: self.id(place), range, claim });
        }
    }

    /// When a worker has nothing and nothing waits, it gets half of what the busiest has not begun.
    fn steal(&mut self, actions: &mut Vec<Action>) {
        if !self.ready().any(|(_, serving)| serving.flight.to_spare() > 0) {
            return;
        }
        let idle: Vec<GuestKey> = self
            .ready()
            .filter(|(_, serving)| self.could_help(serving))
            .map(|(_, serving)| serving.guest)
            .collect();
        for guest in idle {
            let waits = self.guests.get(&guest).is_none_or(|tenant| !tenant.waiting.is_empty());
            if !waits {
                self.steal_for(guest, actions);
            }
        }
    }

    fn steal_for(&mut self, guest: GuestKey, actions: &mut Vec<Action>) {
        let busiest = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(place, slot)| match slot {
                Slot::Ready(serving)
                    if serving.guest == guest && serving.flight.to_spare() > 0 && !serving.asked =>
                {
                    Some((place, serving.flight.to_spare()))
                }
                _ => None,
            })
            .max_by_key(|(_, len)| *len);
        let Some((place, count)) = busiest else { return };
        let worker = self.id(place);
        let Slot::Ready(serving) = &mut self.slots[place] else { return };
        serving.asked = true;
        let tasks = serving.flight.latest(count);
        actions.push(Action::Recall { worker, tasks, why: Recall::Steal });
    }
}
