//! All shared objects of a pool, pure: what is asked, who waits, who hears of it, and what the end of somebody means.
//!
//! No clock, thread or socket is used here. A call is answered at once, or it waits under a ticket; whatever happens
//! later may answer tickets, which whoever made it happen then hands out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Instant;

use wpool_abi::object::{Call, ObjectError, Reply, Verb, Wait};

use super::grant::{Answer, ObjectId, Owner, Stored, Ticket};
use super::objects::{Attempt, Memo, Object, ObjectInit};

/// Everybody who may wait at one object.
pub(super) const MAX_WAITERS: usize = 100_000;

/// The objects, and who waits at them.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: HashMap<ObjectId, Entry>,
    next_object: u64,
    next_ticket: u64,
    /// Where each ticket waits.
    tickets: HashMap<Ticket, Place>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// What each owner waits for. One thing at a time.
    waiting: HashMap<Owner, Ticket>,
    /// Objects that an owner holds something of.
    holdings: HashMap<Owner, HashSet<ObjectId>>,
    /// Tasks that wait for a sub-task of theirs.
    dependents: HashMap<Owner, Owner>,
    /// Barriers at which all have come and the host does something first, and in which round.
    due: Vec<(ObjectId, u64)>,
    /// Tickets that were answered, for whoever hands them out.
    answered: Vec<(Ticket, Owner, Answer)>,
}

#[derive(Debug)]
struct Entry {
    object: Object,
    /// Who waits, by what they wait for, in the order of their coming.
    waiters: BTreeMap<u8, VecDeque<Waiter>>,
    count: usize,
}

#[derive(Debug)]
struct Waiter {
    ticket: Ticket,
    owner: Owner,
    call: Call<Stored>,
    memo: Memo,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    object: ObjectId,
    class: u8,
    owner: Owner,
    deadline: Option<Instant>,
}

/// What came of a call.
#[derive(Debug)]
pub(crate) enum Called {
    Answered(Answer),
    Waits(Ticket),
}

impl Store {
    /// An id for an object that is not kept in the store.
    pub(crate) fn next_id(&mut self) -> ObjectId {
        self.next_object += 1;
        ObjectId(self.next_object)
    }

    /// The number of objects.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.objects.len()
    }

    /// Makes an object.
    pub(crate) fn make(&mut self, shape: ObjectInit) -> ObjectId {
        let id = self.next_id();
        let entry = Entry { object: Object::new(shape), waiters: BTreeMap::new(), count: 0 };
        self.objects.insert(id, entry);
        id
    }

    /// Makes the two ends of a pipe. `both` ways, or from the second to the first.
    pub(crate) fn make_pipe(&mut self, both: bool) -> [ObjectId; 2] {
        let [a, b] = [self.next_id(), self.next_id()];
        for (end, other) in [(a, b), (b, a)] {
            let object = Object::pipe_end(other, both || end == a);
            self.objects.insert(end, Entry { object, waiters: BTreeMap::new(), count: 0 });
        }
        [a, b]
    }

    /// Makes a call of an object. A call that has to wait does so as long as `wait` allows.
    pub(crate) fn call(
        &mut self,
        owner: Owner,
        id: ObjectId,
        mut call: Call<Stored>,
        wait: Wait<Instant>,
    ) -> Called {
        let target = match (&call, self.objects.get(&id)) {
            (_, None) => return Called::Answered(Err(ObjectError::BadHandle)),
            // What goes into one end of a pipe comes out of the other.
            (Call::Put(_) | Call::Close, Some(entry)) => entry.object.peer().unwrap_or(id),
            (_, Some(_)) => id,
        };
        if let Call::Close = call
            && target != id
        {
            // An end that says goodbye is closed, and the other hears of it.
            self.hang_up(target);
            self.hang_up(id);
            return Called::Answered(Ok(Reply::Done));
        }
        let Some(entry) = self.objects.get_mut(&target) else {
            return Called::Answered(Err(ObjectError::Closed));
        };
        let class = class_of(&call);
        // Nobody overtakes those who wait for the same.
        let waiting = |class| entry.waiters.get(&class).is_some_and(|line| !line.is_empty());
        // Who holds it already is in nobody's way: nobody else can have it meanwhile.
        let holds = entry.object.holder() == Some(owner);
        let behind = entry.object.is_fifo() && class != AT_ONCE && !holds && waiting(class);
        let crowded = entry.count >= MAX_WAITERS;
        let mut memo = Memo::default();
        let may_wait = wait != Wait::NonBlocking;
        if !behind || !may_wait || crowded {
            match entry.object.attempt(owner, &mut call, &mut memo) {
                Attempt::Done(answer) => {
                    self.note(owner, target);
                    self.settle(target);
                    return Called::Answered(answer);
                }
                Attempt::Never(error) => return Called::Answered(Err(error)),
                Attempt::Wait(or) if !may_wait => {
                    return Called::Answered(self.give_up(target, owner, &mut call, memo, or));
                }
                Attempt::Wait(_) if crowded => {
                    let error = ObjectError::Quota(format!("{MAX_WAITERS} wait already"));
                    return Called::Answered(self.give_up(target, owner, &mut call, memo, error));
                }
                Attempt::Wait(_) => {}
            }
        }
        let deadline = match wait {
            Wait::Timeout(at) => Some(at),
            Wait::NonBlocking | Wait::Forever => None,
        };
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        entry.count += 1;
        entry.waiters.entry(class).or_default().push_back(Waiter { ticket, owner, call, memo });
        self.tickets.insert(ticket, Place { object: target, class, owner, deadline });
        self.waiting.insert(owner, ticket);
        self.deadlines.extend(deadline.map(|at| (at, ticket)));
        // It may have let go of something before it waits, as a condition does.
        self.settle(target);
        self.break_ring(owner);
        Called::Waits(ticket)
    }

    /// Who would have to wait and does not goes away without a trace; who has let go of a lock for it has that again.
    fn give_up(
        &mut self,
        id: ObjectId,
        owner: Owner,
        call: &mut Call<Stored>,
        mut memo: Memo,
        error: ObjectError,
    ) -> Answer {
        let Some(entry) = self.objects.get_mut(&id) else { return Err(error) };
        if entry.object.comes_back(&mut memo)
            && let Attempt::Done(answer) = entry.object.attempt(owner, call, &mut memo)
        {
            return answer;
        }
        entry.object.gave_up(&memo);
        self.settle(id);
        Err(error)
    }

    /// The other end of a pipe gets nothing more.
    fn hang_up(&mut self, peer: ObjectId) {
        if let Some(entry) = self.objects.get_mut(&peer) {
            entry.object.peer_is_gone();
            self.settle(peer);
        }
    }

    /// Lets all those go on at an object who can now.
    fn settle(&mut self, id: ObjectId) {
        let Some(mut entry) = self.objects.remove(&id) else { return };
        let fifo = entry.object.is_fifo();
        let mut progress = true;
        while progress {
            progress = false;
            for line in entry.waiters.values_mut() {
                let mut place = 0;
                while let Some(waiter) = line.get_mut(place) {
                    let answer = match entry.object.attempt(waiter.owner, &mut waiter.call, &mut waiter.memo)
                    {
                        Attempt::Done(answer) => answer,
                        Attempt::Never(error) => Err(error),
                        Attempt::Wait(_) if fifo => break,
                        Attempt::Wait(_) => {
                            place += 1;
                            continue;
                        }
                    };
                    progress = true;
                    entry.count -= 1;
                    let Some(waiter) = line.remove(place) else { break };
                    if answer.is_ok() && entry.object.is_held_by(waiter.owner) {
                        self.holdings.entry(waiter.owner).or_default().insert(id);
                    }
                    if let Some(Place { deadline: Some(at), .. }) = self.tickets.remove(&waiter.ticket) {
                        self.deadlines.remove(&(at, waiter.ticket));
                    }
                    self.waiting.remove(&waiter.owner);
                    self.answered.push((waiter.ticket, waiter.owner, answer));
                }
            }
        }
        self.due.extend(entry.object.take_due().map(|round| (id, round)));
        self.objects.insert(id, entry);
    }

    /// Remembers whether an owner holds something of an object.
    fn note(&mut self, owner: Owner, id: ObjectId) {
        let held = self.objects.get(&id).is_some_and(|entry| entry.object.is_held_by(owner));
        if held {
            self.holdings.entry(owner).or_default().insert(id);
        } else if let Some(holdings) = self.holdings.get_mut(&owner) {
            holdings.remove(&id);
            if holdings.is_empty() {
                self.holdings.remove(&owner);
            }
        }
    }

    /// If the owner's wait has closed a ring of owners that wait for each other, the youngest of them fails; unless
    /// one of them waits for some time only, who will break the ring itself.
    fn break_ring(&mut self, owner: Owner) {
        let mut ring = vec![owner];
        let mut at = owner;
        loop {
            let Some(holder) = self.waits_for(at) else { return };
            if holder == owner {
                break;
            }
            if ring.contains(&holder) {
                // A ring that this owner is not in: whoever closed it has seen it.
                return;
            }
            ring.push(holder);
            at = holder;
        }
        let waits_for_ever = |owner: &Owner| {
            let place = self.waiting.get(owner).and_then(|ticket| self.tickets.get(ticket));
            place.is_none_or(|place| place.deadline.is_none())
        };
        if !ring.iter().all(waits_for_ever) {
            return;
        }
        let members: Vec<String> = ring.iter().map(ToString::to_string).collect();
        let youngest = ring.into_iter().max().unwrap_or(owner);
        if let Some(ticket) = self.waiting.get(&youngest).copied() {
            let error = ObjectError::Deadlock(format!("{} wait for each other", members.join(", ")));
            self.fail(ticket, error);
        }
    }

    /// Who has to let go, or to end, before an owner goes on; none if that is nobody in particular. A semaphore may be
    /// released by anybody, so who waits for one waits for nobody.
    fn waits_for(&self, owner: Owner) -> Option<Owner> {
        if let Some(other) = self.dependents.get(&owner) {
            return Some(*other);
        }
        let place = self.tickets.get(self.waiting.get(&owner)?)?;
        self.objects.get(&place.object)?.object.holder()
    }

    /// An owner waits for the end of another one.
    pub(crate) fn depends(&mut self, owner: Owner, on: Owner) {
        self.dependents.insert(owner, on);
        self.break_ring(owner);
    }

    /// What it waited for has ended.
    pub(crate) fn depends_no_more(&mut self, owner: Owner) {
        self.dependents.remove(&owner);
    }

    /// The barriers at which the host has something to do.
    pub(crate) fn take_due(&mut self) -> Vec<(ObjectId, u64)> {
        std::mem::take(&mut self.due)
    }

    /// The host has done what it does at a barrier, or has failed to.
    pub(crate) fn acted(&mut self, barrier: ObjectId, round: u64, success: bool) {
        if let Some(entry) = self.objects.get_mut(&barrier) {
            entry.object.acted(round, success);
            self.settle(barrier);
        }
    }

    /// Ends a wait with an error, unless its object wants to go on with it.
    fn fail(&mut self, ticket: Ticket, error: ObjectError) {
        let Some(waiter) = self.take_waiter(ticket) else { return };
        self.answered.push((ticket, waiter.owner, Err(error)));
    }

    /// A ticket waits no more.
    fn forget(&mut self, ticket: Ticket) -> Option<Place> {
        let place = self.tickets.remove(&ticket)?;
        if let Some(at) = place.deadline {
            self.deadlines.remove(&(at, ticket));
        }
        self.waiting.remove(&place.owner);
        Some(place)
    }

    fn take_waiter(&mut self, ticket: Ticket) -> Option<Waiter> {
        let place = self.forget(ticket)?;
        let entry = self.objects.get_mut(&place.object)?;
        let line = entry.waiters.get_mut(&place.class)?;
        let at = line.iter().position(|waiter| waiter.ticket == ticket)?;
        let waiter = line.remove(at)?;
        entry.count -= 1;
        entry.object.gave_up(&waiter.memo);
        self.settle(place.object);
        Some(waiter)
    }

    /// Somebody does not wait any more. False if the answer is on its way.
    pub(crate) fn abandon(&mut self, ticket: Ticket) -> bool {
        self.take_waiter(ticket).is_some()
    }

    /// Somebody was answered and has not heard it: what was taken comes back, what was acquired is released.
    pub(crate) fn give_back(&mut self, owner: Owner, id: ObjectId, verb: Verb, reply: Reply<Stored>) {
        let Some(entry) = self.objects.get_mut(&id) else { return };
        match (verb, reply) {
            (Verb::Get, Reply::Items(items, again)) => entry.object.give_back(items, again),
            (Verb::Acquire, _) => {
                entry.object.attempt(owner, &mut Call::Release(1), &mut Memo::default());
                self.note(owner, id);
            }
            _ => return,
        }
        self.settle(id);
    }

    /// Ends the waits whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(&(at, ticket)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.time_is_over(ticket);
        }
    }

    /// A wait's time is over. Who waits with a lock has to get that back first, and is told then.
    pub(crate) fn time_is_over(&mut self, ticket: Ticket) {
        let Some(place) = self.tickets.get_mut(&ticket) else { return };
        place.deadline = None;
        let (object, class) = (place.object, place.class);
        let Some(entry) = self.objects.get_mut(&object) else { return };
        let line = entry.waiters.entry(class).or_default();
        let Some(waiter) = line.iter_mut().find(|waiter| waiter.ticket == ticket) else { return };
        let owner = waiter.owner;
        if entry.object.comes_back(&mut waiter.memo) {
            self.settle(object);
            // It waits for its lock now, as long as that takes.
            if self.tickets.contains_key(&ticket) {
                self.break_ring(owner);
            }
        } else {
            self.fail(ticket, ObjectError::TimedOut);
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Who was answered since this was asked last.
    pub(crate) fn take_answered(&mut self) -> Vec<(Ticket, Owner, Answer)> {
        std::mem::take(&mut self.answered)
    }

    /// An owner has ended. What it held is released; if it failed, what it left is marked.
    pub(crate) fn end(&mut self, owner: Owner, success: bool) {
        self.dependents.remove(&owner);
        if let Some(ticket) = self.waiting.get(&owner).copied() {
            self.take_waiter(ticket);
        }
        for id in self.holdings.remove(&owner).unwrap_or_default() {
            if let Some(entry) = self.objects.get_mut(&id) {
                entry.object.owner_ended(owner, success);
                self.settle(id);
            }
        }
    }

    /// Nobody has a handle on an object any more.
    pub(crate) fn remove(&mut self, id: ObjectId) {
        let Some(entry) = self.objects.remove(&id) else { return };
        let waiters = entry.waiters.into_values().flatten().map(|waiter| waiter.ticket).collect::<Vec<_>>();
        for ticket in waiters {
            if let Some(place) = self.forget(ticket) {
                self.answered.push((ticket, place.owner, Err(ObjectError::Closed)));
            }
        }
        if let Some(peer) = entry.object.peer() {
            // Nobody is left who could answer.
            self.hang_up(peer);
        }
    }

    /// The pool is going: whoever waits is told, and nobody will wait again.
    pub(crate) fn close(&mut self) {
        let tickets: Vec<Ticket> = self.tickets.keys().copied().collect();
        for ticket in tickets {
            self.fail(ticket, ObjectError::PoolClosed);
        }
    }
}

/// Calls that never wait.
const AT_ONCE: u8 = u8::MAX;

/// What somebody waits for, as far as it decides who goes first.
fn class_of(call: &Call<Stored>) -> u8 {
    match call {
        Call::Put(_) => 0,
        Call::Get(_) => 1,
        Call::Poll => 2,
        Call::Join => 3,
        Call::Acquire => 4,
        Call::Wait => 5,
        _ => AT_ONCE,
    }
}
