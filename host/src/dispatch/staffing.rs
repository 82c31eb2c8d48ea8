//! How many workers there are, and which guest each serves: started when tasks wait, let go when none do.

use std::time::{Duration, Instant};

use super::flight::Flight;
use super::range::Range;
use super::tenant::Tenant;
use super::{Action, Dispatcher, Mode, Recall};
use crate::error::TaskError;
use crate::ids::{GuestKey, TaskId, WorkerId};

/// A guest keeps a place that another one wants as long as it has not used so much more than its share.
const QUANTUM: Duration = Duration::from_millis(50);

/// A worker that has said nothing for so long although it has several tasks has taken on too much: another one is
/// started, and gets some of them.
const PATIENCE: Duration = Duration::from_millis(5);

/// One place for a worker.
#[derive(Debug)]
pub(super) enum Slot {
    /// Nobody is there.
    Vacant,
    /// Its process was started, and has not answered yet.
    Starting(Box<Serving>),
    Ready(Box<Serving>),
    /// Its connection is closed or it was killed, and its end is awaited.
    Ending(Box<Serving>),
}

impl Slot {
    pub(super) fn serving(&self) -> Option<&Serving> {
        match self {
            Slot::Vacant => None,
            Slot::Starting(serving) | Slot::Ready(serving) | Slot::Ending(serving) => Some(serving),
        }
    }

    pub(super) fn serving_mut(&mut self) -> Option<&mut Serving> {
        match self {
            Slot::Vacant => None,
            Slot::Starting(serving) | Slot::Ready(serving) | Slot::Ending(serving) => Some(serving),
        }
    }

    fn is_starting_for(&self, guest: GuestKey) -> bool {
        matches!(self, Slot::Starting(serving) if serving.guest == guest)
    }
}

/// What a worker is doing.
#[derive(Debug)]
pub(super) struct Serving {
    pub(super) guest: GuestKey,
    pub(super) flight: Flight,
    /// A task that may have killed a worker runs alone, so that it can be blamed.
    pub(super) exclusive: bool,
    /// It gets no more tasks, and goes when it has done what it has.
    pub(super) retiring: bool,
    /// What was running at the last look, and since when.
    pub(super) watch: Option<(u64, Instant)>,
    /// The task that the parent's own clock has given up on.
    pub(super) stuck: Option<TaskId>,
    /// Whether tasks were asked back since the worker's tasks last changed. Asking again would find the same.
    pub(super) asked: bool,
    /// How many tasks it was given and had not taken from it again.
    pub(super) sent: u32,
    /// Whether a task of it has ended.
    pub(super) worked: bool,
    /// Since when it is there.
    since: Instant,
    /// Since when it has had nothing to do, if it has nothing.
    pub(super) idle_since: Instant,
    /// Since when none of its tasks has ended.
    pub(super) quiet_since: Instant,
}

impl Serving {
    fn new(guest: GuestKey, now: Instant) -> Self {
        Self {
            guest,
            flight: Flight::new(),
            exclusive: false,
            retiring: false,
            watch: None,
            stuck: None,
            asked: false,
            sent: 0,
            worked: false,
            since: now,
            idle_since: now,
            quiet_since: now,
        }
    }

    pub(super) fn give(&mut self, range: Range, claim: u32, now: Instant) {
        if self.flight.active() == 0 {
            self.quiet_since = now;
        }
        self.flight.add(range, claim);
        self.sent = self.sent.saturating_add(range.count);
        self.asked = false;
    }
}

impl Dispatcher {
    pub(super) fn load(&mut self, guest: GuestKey, weight: u32, depth: u8) {
        self.guests.insert(guest, Tenant::new(weight, depth));
    }

    pub(super) fn unload(&mut self, guest: GuestKey) {
        if let Some(tenant) = self.guests.get_mut(&guest) {
            tenant.leaving = true;
        }
    }

    pub(super) fn resize(&mut self, max: u16) {
        (self.settings.min, self.settings.max) = (self.settings.min.min(max), max);
        let places = usize::from(max);
        if self.slots.len() < places {
            self.slots.resize_with(places, || Slot::Vacant);
            self.generations.resize(places, 0);
        }
    }

    pub(super) fn worker_ready(&mut self, worker: WorkerId, now: Instant, actions: &mut Vec<Action>) {
        let Some(slot) = self.slot(worker) else { return };
        match std::mem::replace(slot, Slot::Vacant) {
            Slot::Starting(mut serving) => {
                serving.idle_since = now;
                let guest = serving.guest;
                *slot = Slot::Ready(serving);
                if let Some(tenant) = self.guests.get_mut(&guest) {
                    tenant.breaker.started();
                }
            }
            // It was told to end before it could answer.
            ending @ Slot::Ending(_) => *slot = ending,
            other => {
                *slot = other;
                actions.push(Action::Violation { worker, what: "it was ready twice" });
            }
        }
    }

    pub(super) fn start_failed(
        &mut self,
        worker: WorkerId,
        message: String,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slot(worker) else { return };
        if let Slot::Starting(serving) = std::mem::replace(slot, Slot::Vacant) {
            self.failed(serving.guest, message, now, actions);
        }
    }

    /// A worker could not start, or has ended before it did anything.
    pub(super) fn failed(
        &mut self,
        guest: GuestKey,
        message: String,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if let Some(tenant) = self.guests.get_mut(&guest)
            && tenant.breaker.failed(message, now)
        {
            self.fail_fast(guest, now, actions);
        }
    }

    /// While a guest's breaker is open and no worker serves it, its tasks do not wait.
    pub(super) fn fail_fast(&mut self, guest: GuestKey, now: Instant, actions: &mut Vec<Action>) {
        let served = self.ready().any(|(_, serving)| serving.guest == guest);
        let Some(tenant) = self.guests.get_mut(&guest).filter(|_| !served) else { return };
        let Some(message) = tenant.breaker.cause(now).map(str::to_owned) else { return };
        let error = TaskError::NoWorker { message };
        let waiting = tenant.waiting.drain().into_iter();
        actions.extend(waiting.map(|range| Action::Fail { range, error: error.clone() }));
    }

    /// Whether tasks wait for a worker, or somebody is about to go.
    pub(super) fn may_need_staff(&self) -> bool {
        self.mode != Mode::Open
            || self.guests.values().any(|tenant| tenant.leaving || !tenant.waiting.is_empty())
            || self.ready().any(|(_, serving)| serving.retiring || self.is_used_up(serving))
    }

    /// Lets go who is not needed, and starts who is.
    pub(super) fn staff(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.mode == Mode::Terminated {
            return;
        }
        self.guests.values_mut().for_each(|tenant| tenant.breaker.wake(now));
        self.shrink();
        self.let_go(now, actions);
        for guest in self.guests_by_use() {
            self.staff_for(guest, now, actions);
        }
        self.relieve(now, actions);
        self.keep_minimum(now, actions);
        self.forget_unloaded(actions);
    }

    /// The guests, the one that has used least first.
    fn guests_by_use(&self) -> Vec<GuestKey> {
        let waiting = self.guests.iter().filter(|(_, tenant)| !tenant.waiting.is_empty());
        let mut guests: Vec<_> = waiting.map(|(guest, tenant)| (tenant.used(), *guest)).collect();
        guests.sort_unstable();
        guests.into_iter().map(|(_, guest)| guest).collect()
    }

    /// Processes that are there or about to be.
    fn live(&self) -> usize {
        self.slots.iter().filter(|slot| !matches!(slot, Slot::Vacant)).count()
    }

    /// Those of them that are not about to go.
    fn staying(&self) -> usize {
        let staying = |slot: &&Slot| match slot {
            Slot::Starting(_) => true,
            Slot::Ready(serving) => !serving.retiring,
            Slot::Vacant | Slot::Ending(_) => false,
        };
        self.slots.iter().filter(staying).count()
    }

    fn starting_for(&self, guest: GuestKey) -> usize {
        self.slots.iter().filter(|slot| slot.is_starting_for(guest)).count()
    }

    /// Starts workers for tasks that no worker has room for, as far as there are places.
    fn staff_for(&mut self, guest: GuestKey, now: Instant, actions: &mut Vec<Action>) {
        let waiting = self.guests[&guest].waiting.len();
        let mut starting = self.starting_for(guest);
        while starting < waiting && self.guests[&guest].breaker.may_start(starting, now) {
            if self.live() >= usize::from(self.settings.max) {
                self.make_place(guest, waiting - starting, actions);
                return;
            }
            self.spawn(guest, now, actions);
            starting += 1;
        }
    }

    /// Starts a worker for a guest one of whose workers has taken on too much.
    fn relieve(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.live() >= usize::from(self.settings.max) {
            return;
        }
        let slow = self.ready().find(|(_, serving)| self.relief_at(serving).is_some_and(|at| at <= now));
        let Some(guest) = slow.map(|(_, serving)| serving.guest) else { return };
        if self.guests.get(&guest).is_some_and(|tenant| tenant.breaker.may_start(0, now)) {
            self.spawn(guest, now, actions);
        }
    }

    /// When a worker is to be relieved of some of its tasks, if nothing happens until then.
    fn relief_at(&self, serving: &Serving) -> Option<Instant> {
        if serving.flight.to_spare() == 0 {
            return None;
        }
        let idle = |other: &Serving| other.guest == serving.guest && self.could_help(other);
        let helped = self.starting_for(serving.guest) > 0 || self.ready().any(|(_, other)| idle(other));
        // While the guest's breaker rests nobody can be started, and asking again and again would change nothing.
        let rest = self.guests.get(&serving.guest)?.breaker.rests_until();
        let patient = serving.quiet_since + PATIENCE;
        (!helped).then(|| rest.map_or(patient, |rest| rest.max(patient)))
    }

    /// Whether a task of this guest would have a worker started for it.
    pub(super) fn could_start(&self, guest: GuestKey) -> bool {
        let any = self.slots.iter().filter_map(Slot::serving).any(|serving| serving.guest == guest);
        self.starting_for(guest) == 0 && (!any || self.live() < usize::from(self.settings.max))
    }

    fn spawn(&mut self, guest: GuestKey, now: Instant, actions: &mut Vec<Action>) {
        let vacant = self.slots.iter().position(|slot| matches!(slot, Slot::Vacant));
        let Some(place) = vacant else { return };
        self.generations[place] += 1;
        self.slots[place] = Slot::Starting(Box::new(Serving::new(guest, now)));
        actions.push(Action::Spawn { worker: self.id(place), guest });
    }

    /// All places are taken: a worker of another guest goes, if it is idle or that guest has had its share.
    fn make_place(&mut self, guest: GuestKey, wanted: usize, actions: &mut Vec<Action>) {
        let going = self.slots.iter().filter(|slot| match slot {
            Slot::Ending(_) => true,
            Slot::Ready(serving) => serving.retiring,
            _ => false,
        });
        let mut going = going.count();
        while going < wanted {
            let Some(place) = self.idle_stranger(guest) else { break };
            self.stop(place, actions);
            going += 1;
        }
        if going == 0
            && let Some(place) = self.place_beyond_its_share(guest)
        {
            self.retire(place, actions);
        }
    }

    /// The place of a worker of another guest that has nothing to do, the one that had something longest ago.
    fn idle_stranger(&self, guest: GuestKey) -> Option<usize> {
        let idle = self.slots.iter().enumerate().filter_map(|(place, slot)| match slot {
            Slot::Ready(serving) if serving.guest != guest && serving.flight.len() == 0 => {
                Some((serving.idle_since, place))
            }
            _ => None,
        });
        idle.min().map(|(_, place)| place)
    }

    /// The place of a worker whose guest has used more than this one, by more than a quantum or while this one has
    /// no worker and that one several.
    fn place_beyond_its_share(&self, guest: GuestKey) -> Option<usize> {
        let places = |guest| self.slots.iter().filter_map(Slot::serving).filter(|s| s.guest == guest).count();
        let (own, used) = (places(guest), self.guests[&guest].used());
        let victims = self.slots.iter().enumerate().filter_map(|(place, slot)| match slot {
            Slot::Ready(serving) if serving.guest != guest => {
                let theirs = self.guests.get(&serving.guest)?.used();
                let starved = own == 0 && places(serving.guest) > 1;
                (starved || theirs > used + QUANTUM).then_some((
                    theirs,
                    u32::MAX - serving.flight.len(),
                    place,
                ))
            }
            _ => None,
        });
        victims.max().map(|(_, _, place)| place)
    }

    /// The worker gets nothing more, what it has not begun is taken back, and it goes when it has nothing left.
    fn retire(&mut self, place: usize, actions: &mut Vec<Action>) {
        let worker = self.id(place);
        let Slot::Ready(serving) = &mut self.slots[place] else { return };
        serving.retiring = true;
        let tasks: Vec<_> = serving.flight.tasks().map(|(task, claim, _)| (task, claim)).collect();
        if !tasks.is_empty() {
            actions.push(Action::Recall { worker, tasks, why: Recall::Steal });
        }
    }

    /// Closes a worker's connection. It exits by itself.
    fn stop(&mut self, place: usize, actions: &mut Vec<Action>) {
        actions.push(Action::Stop(self.id(place)));
        self.end(place);
    }

    /// From now on the worker gets nothing, and its end is awaited.
    pub(super) fn end(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        *slot = match std::mem::replace(slot, Slot::Vacant) {
            Slot::Starting(serving) | Slot::Ready(serving) => Slot::Ending(serving),
            other => other,
        };
    }

    /// With more workers than there may be, some retire: those with the least to do.
    fn shrink(&mut self) {
        let mut excess = self.staying().saturating_sub(usize::from(self.settings.max));
        while excess > 0 {
            let ready = self.slots.iter_mut().filter_map(|slot| match slot {
                Slot::Ready(serving) if !serving.retiring => Some(serving),
                _ => None,
            });
            let Some(serving) = ready.min_by_key(|serving| serving.flight.len()) else { return };
            serving.retiring = true;
            excess -= 1;
        }
    }

    /// Whether a worker has run as many tasks as it may.
    pub(super) fn is_used_up(&self, serving: &Serving) -> bool {
        self.settings.max_tasks.is_some_and(|max| serving.sent >= max)
    }

    /// Lets workers go that have nothing to do and are not needed: retired ones, used ones, those of guests that
    /// were unloaded, those that were idle for long, and all of them when the pool is closing.
    fn let_go(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let finished = self.mode == Mode::Closing && self.queued() == 0;
        // Nobody goes while a dead worker's tasks may still come back.
        let settled = self.slots.iter().all(|slot| match slot {
            Slot::Vacant => true,
            slot => slot.serving().is_none_or(|serving| serving.flight.len() == 0),
        });
        let mut spare = self.staying().saturating_sub(usize::from(self.settings.min));
        for place in 0..self.slots.len() {
            let (Slot::Starting(serving) | Slot::Ready(serving)) = &self.slots[place] else { continue };
            if serving.flight.len() > 0 {
                continue;
            }
            let leaving = self
                .guests
                .get(&serving.guest)
                .is_none_or(|tenant| tenant.leaving && tenant.waiting.is_empty());
            let done_with = serving.retiring || self.is_used_up(serving) || leaving || (finished && settled);
            let ready = matches!(self.slots[place], Slot::Ready(_));
            let idle = ready && spare > 0 && self.idle_until(serving).is_some_and(|at| at <= now);
            if done_with || idle {
                spare = spare.saturating_sub(1);
                self.stop(place, actions);
            }
        }
    }

    fn idle_until(&self, serving: &Serving) -> Option<Instant> {
        self.settings.idle.and_then(|idle| serving.idle_since.checked_add(idle))
    }

    /// Keeps as many workers as there are to be at least, for the first guest that can have some.
    fn keep_minimum(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.mode != Mode::Open {
            return;
        }
        while self.live() < usize::from(self.settings.min.min(self.settings.max)) {
            let able = self.guests.iter().find(|(guest, tenant)| {
                !tenant.leaving && tenant.breaker.may_start(self.starting_for(**guest), now)
            });
            let Some((&guest, _)) = able else { return };
            self.spawn(guest, now, actions);
        }
    }

    fn forget_unloaded(&mut self, actions: &mut Vec<Action>) {
        let slots = &self.slots;
        self.guests.retain(|guest, tenant| {
            let served = slots.iter().filter_map(Slot::serving).any(|serving| serving.guest == *guest);
            let stays = !tenant.leaving || served || !tenant.waiting.is_empty();
            if !stays {
                actions.push(Action::Unloaded(*guest));
            }
            stays
        });
    }

    /// Workers that are too old get nothing more.
    pub(super) fn retire_old(&mut self, now: Instant) {
        let Some(age) = self.settings.max_age else { return };
        for slot in &mut self.slots {
            if let Slot::Ready(serving) = slot {
                serving.retiring |= now.saturating_duration_since(serving.since) >= age;
            }
        }
    }

    /// When somebody is to be started or let go, if nothing else happens.
    pub(super) fn next_staffing(&self) -> Option<Instant> {
        if self.mode == Mode::Terminated {
            return None;
        }
        let below = self.mode == Mode::Open && self.live() < usize::from(self.settings.min);
        let rests = self.guests.values().filter(|tenant| below || !tenant.waiting.is_empty());
        let rests = rests.filter_map(|tenant| tenant.breaker.rests_until());
        let may_shrink = self.staying() > usize::from(self.settings.min);
        let idle = self.ready().filter(|(_, serving)| may_shrink && serving.flight.len() == 0);
        let idle = idle.filter_map(|(_, serving)| self.idle_until(serving));
        let age = self.settings.max_age;
        let old = self.ready().filter(|(_, serving)| !serving.retiring);
        let old = old.filter_map(|(_, serving)| serving.since.checked_add(age?));
        let may_grow = self.live() < usize::from(self.settings.max);
        let slow = self.ready().filter(|_| may_grow).filter_map(|(_, serving)| self.relief_at(serving));
        rests.chain(idle).chain(old).chain(slow).min()
    }
}
