//! All shared objects of a pool: calls, waiting calls, deadlocks, and the ends of owners and objects.
//!
//! The store uses no clock, thread or socket. A call is answered at once, or it waits under a ticket. Later calls and
//! events answer tickets; the caller fetches those answers with [`Store::take_answered`].

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, ObjectError, Reply, Verb, Wait};

use super::grant::{Answer, ObjectId, Owner, Stored, Ticket};
use super::objects::{Attempt, Object, ObjectInit, WaitState};
use super::waiting::{Entry, MAX_WAITERS, WaitQueue, Waiter};

/// The objects, and the calls that wait at them.
#[derive(Debug, Default)]
pub(crate) struct Store {
    objects: HashMap<ObjectId, Entry>,
    next_ticket: u64,
    tickets: HashMap<Ticket, WaitingCall>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    /// The call of each owner that waits. An owner waits for one call at a time.
    waiting: HashMap<Owner, Ticket>,
    /// The objects of which an owner holds a part: a lock, a permit, a value that it has to work off.
    holdings: HashMap<Owner, HashSet<ObjectId>>,
    /// From a task to the sub-task that it waits for.
    dependencies: HashMap<Owner, Owner>,
    /// Barriers whose action the host has to run, with the round.
    pending_actions: Vec<(ObjectId, u64)>,
    /// Answered tickets that were not fetched yet.
    answered: Vec<(Ticket, Owner, Answer)>,
}

/// Where the call of a ticket waits, and for how long.
#[derive(Debug, Clone, Copy)]
struct WaitingCall {
    object: ObjectId,
    queue: WaitQueue,
    owner: Owner,
    deadline: Option<Instant>,
}

/// The values of an object that a call goes over, by their indices as in a slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// It copies them.
    Copies { from: i64, to: i64 },
    /// It looks at all behind this index, or moves them.
    Moves { from: i64 },
}

/// The immediate result of a call.
#[derive(Debug)]
pub(crate) enum Called {
    Answered(Answer),
    Waits(Ticket),
}

impl Store {
    /// Returns an id for an object that is not kept in the store.
    pub(crate) fn next_id() -> ObjectId {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        ObjectId(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The number of objects.
    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.objects.len()
    }

    /// About how long a call that goes over these values takes.
    pub(crate) fn cost(&self, id: ObjectId, reach: Reach) -> Duration {
        /// To copy one value and to encode it, and to move it, in nanoseconds. In one nanosecond 4 bytes are copied.
        const COPY: u64 = 100;
        const MOVE: u64 = 5;
        let Some(entry) = self.objects.get(&id) else { return Duration::ZERO };
        let nanoseconds = match reach {
            Reach::Copies { from, to } => {
                let (values, bytes) = entry.object.extent(from, to);
                values * COPY + bytes / 4
            }
            Reach::Moves { from } => entry.object.extent(from, i64::MAX).0 * MOVE,
        };
        Duration::from_nanos(nanoseconds)
    }

    /// Makes an object.
    pub(crate) fn make(&mut self, init: ObjectInit) -> ObjectId {
        let id = Self::next_id();
        self.objects.insert(id, Entry::new(Object::new(init)));
        id
    }

    /// Makes the two ends of a pipe. Values go both ways with `duplex`, else from the second end to the first.
    pub(crate) fn make_pipe(&mut self, duplex: bool) -> [ObjectId; 2] {
        let [a, b] = [Self::next_id(), Self::next_id()];
        for (end, other) in [(a, b), (b, a)] {
            self.objects.insert(end, Entry::new(Object::pipe_end(other, duplex || end == a)));
        }
        [a, b]
    }

    /// Makes a call of an object. A call that cannot be answered yet waits as `wait` allows.
    pub(crate) fn call(
        &mut self,
        owner: Owner,
        id: ObjectId,
        mut call: Call<Stored>,
        wait: Wait<Instant>,
    ) -> Called {
        let target = match (&call, self.objects.get(&id)) {
            (_, None) => return Called::Answered(Err(ObjectError::BadHandle)),
            // A value that is put into one end of a pipe is received at the other.
            (Call::Put(_) | Call::Close, Some(entry)) => entry.object.peer().unwrap_or(id),
            (_, Some(_)) => id,
        };
        if matches!(call, Call::Close) && target != id {
            // Both ends are closed, so that a caller that waits at either is answered.
            self.close_end(target);
            self.close_end(id);
            return Called::Answered(Ok(Reply::Done));
        }
        let Some(entry) = self.objects.get_mut(&target) else {
            return Called::Answered(Err(ObjectError::Closed));
        };
        let (queue, full, may_wait) = (WaitQueue::of(&call), entry.is_full(), wait != Wait::NonBlocking);
        let mut state = WaitState::default();
        if full || !may_wait || !entry.must_queue(owner, queue) {
            match entry.object.attempt(owner, &mut call, &mut state) {
                Attempt::Done(answer) => {
                    self.update_holdings(owner, target);
                    self.resume_waiters(target);
                    return Called::Answered(answer);
                }
                Attempt::Never(error) => return Called::Answered(Err(error)),
                Attempt::Wait(error) if !may_wait => {
                    return Called::Answered(self.abandon_call(target, owner, &mut call, state, error));
                }
                Attempt::Wait(_) if full => {
                    let error = ObjectError::Quota(format!("{MAX_WAITERS} wait already"));
                    return Called::Answered(self.abandon_call(target, owner, &mut call, state, error));
                }
                Attempt::Wait(_) => {}
            }
        }
        Called::Waits(self.enqueue(owner, target, queue, call, state, wait))
    }

    /// Lets a call wait at an object.
    fn enqueue(
        &mut self,
        owner: Owner,
        object: ObjectId,
        queue: WaitQueue,
        call: Call<Stored>,
        state: WaitState,
        wait: Wait<Instant>,
    ) -> Ticket {
        let deadline = match wait {
            Wait::Timeout(at) => Some(at),
            Wait::NonBlocking | Wait::Forever => None,
        };
        self.next_ticket += 1;
        let ticket = Ticket(self.next_ticket);
        if let Some(entry) = self.objects.get_mut(&object) {
            entry.push(queue, Waiter { ticket, owner, call, state });
        }
        self.tickets.insert(ticket, WaitingCall { object, queue, owner, deadline });
        self.waiting.insert(owner, ticket);
        self.deadlines.extend(deadline.map(|at| (at, ticket)));
        // A call that waits at a condition has released its lock, which another call may be waiting for.
        self.resume_waiters(object);
        self.break_deadlock(owner);
        ticket
    }

    /// Answers a call that may not wait as if it had not been made, except that values of a `put` that found room stay in.
    /// A call that has released a lock to wait gets that
    /// lock back.
    fn abandon_call(
        &mut self,
        id: ObjectId,
        owner: Owner,
        call: &mut Call<Stored>,
        mut state: WaitState,
        error: ObjectError,
    ) -> Answer {
        let Some(entry) = self.objects.get_mut(&id) else { return Err(error) };
        if entry.object.must_reacquire(&mut state)
            && let Attempt::Done(answer) = entry.object.attempt(owner, call, &mut state)
        {
            return answer;
        }
        entry.object.abandon(&state);
        self.resume_waiters(id);
        Err(error)
    }

    /// Closes one end of a pipe: it receives nothing more.
    fn close_end(&mut self, end: ObjectId) {
        if let Some(entry) = self.objects.get_mut(&end) {
            entry.object.close_end();
            self.resume_waiters(end);
        }
    }

    /// Answers all calls that wait at an object and need not wait any longer.
    fn resume_waiters(&mut self, id: ObjectId) {
        let Some(entry) = self.objects.get_mut(&id) else { return };
        let resumed = entry.resume();
        self.pending_actions.extend(entry.object.take_pending_action().map(|round| (id, round)));
        for waiter in resumed {
            if waiter.holds {
                self.holdings.entry(waiter.owner).or_default().insert(id);
            }
            self.remove_ticket(waiter.ticket);
            self.answered.push((waiter.ticket, waiter.owner, waiter.answer));
        }
    }

    /// Records whether an owner holds a part of an object.
    fn update_holdings(&mut self, owner: Owner, id: ObjectId) {
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

    /// Fails the youngest owner of the wait cycle that `owner` has closed, if it has closed one. A cycle in which one
    /// call has a timeout is left alone: that timeout breaks it.
    fn break_deadlock(&mut self, owner: Owner) {
        let Some(cycle) = self.wait_cycle(owner) else { return };
        if cycle.iter().any(|owner| self.has_timeout(*owner)) {
            return;
        }
        let members: Vec<String> = cycle.iter().map(ToString::to_string).collect();
        let youngest = cycle.into_iter().max().unwrap_or(owner);
        if let Some(ticket) = self.waiting.get(&youngest).copied() {
            let error = ObjectError::Deadlock(format!("{} wait for each other", members.join(", ")));
            self.fail(ticket, error);
        }
    }

    /// Returns the owners that wait for each other in a cycle through `owner`; `None` if there is no such cycle.
    fn wait_cycle(&self, owner: Owner) -> Option<Vec<Owner>> {
        let mut cycle = vec![owner];
        let mut current = owner;
        loop {
            current = self.blocking_owner(current)?;
            if current == owner {
                return Some(cycle);
            }
            if cycle.contains(&current) {
                // A cycle without `owner` was examined when it was closed.
                return None;
            }
            cycle.push(current);
        }
    }

    fn has_timeout(&self, owner: Owner) -> bool {
        let call = self.waiting.get(&owner).and_then(|ticket| self.tickets.get(ticket));
        call.is_some_and(|call| call.deadline.is_some())
    }

    /// Returns the single owner that blocks `owner`, if there is one. A call that waits for a semaphore has none, as
    /// any owner may release it.
    fn blocking_owner(&self, owner: Owner) -> Option<Owner> {
        if let Some(sub_task) = self.dependencies.get(&owner) {
            return Some(*sub_task);
        }
        let call = self.tickets.get(self.waiting.get(&owner)?)?;
        self.objects.get(&call.object)?.object.holder()
    }

    /// Records that a task waits for the end of its sub-task.
    pub(crate) fn set_dependency(&mut self, task: Owner, sub_task: Owner) {
        self.dependencies.insert(task, sub_task);
        self.break_deadlock(task);
    }

    /// Records that a task does not wait for a sub-task any longer.
    pub(crate) fn clear_dependency(&mut self, task: Owner) {
        self.dependencies.remove(&task);
    }

    /// Takes the barriers whose action the host has to run, each with its round.
    pub(crate) fn take_pending_actions(&mut self) -> Vec<(ObjectId, u64)> {
        std::mem::take(&mut self.pending_actions)
    }

    /// Ends the action of a barrier's round. Without `success` the barrier breaks.
    pub(crate) fn end_action(&mut self, barrier: ObjectId, round: u64, success: bool) {
        if let Some(entry) = self.objects.get_mut(&barrier) {
            entry.object.end_action(round, success);
            self.resume_waiters(barrier);
        }
    }

    /// Answers a waiting call with an error.
    fn fail(&mut self, ticket: Ticket, error: ObjectError) {
        let Some(waiter) = self.remove_waiter(ticket) else { return };
        self.answered.push((ticket, waiter.owner, Err(error)));
    }

    fn remove_ticket(&mut self, ticket: Ticket) -> Option<WaitingCall> {
        let call = self.tickets.remove(&ticket)?;
        if let Some(at) = call.deadline {
            self.deadlines.remove(&(at, ticket));
        }
        self.waiting.remove(&call.owner);
        Some(call)
    }

    fn remove_waiter(&mut self, ticket: Ticket) -> Option<Waiter> {
        let call = self.remove_ticket(ticket)?;
        let entry = self.objects.get_mut(&call.object)?;
        let waiter = entry.remove(call.queue, ticket)?;
        entry.object.abandon(&waiter.state);
        self.resume_waiters(call.object);
        Some(waiter)
    }

    /// Ends the wait of a call without an answer. Returns false if the call was answered before.
    pub(crate) fn abandon(&mut self, ticket: Ticket) -> bool {
        self.remove_waiter(ticket).is_some()
    }

    /// Takes back a reply that did not reach its owner: values return to the object, a lock is released.
    pub(crate) fn give_back(&mut self, owner: Owner, id: ObjectId, verb: Verb, reply: Reply<Stored>) {
        let Some(entry) = self.objects.get_mut(&id) else { return };
        match (verb, reply) {
            (Verb::Get, Reply::Items(items, redelivered)) => {
                entry.object.give_back(owner, items, redelivered);
            }
            (Verb::Acquire, _) => {
                entry.object.attempt(owner, &mut Call::Release(1), &mut WaitState::default());
                self.update_holdings(owner, id);
            }
            _ => return,
        }
        self.resume_waiters(id);
    }

    /// Times out all calls whose deadline is `now` or earlier.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(&(at, ticket)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            self.time_out(ticket);
        }
    }

    /// Times out a call. A call that has released a lock to wait is answered when it has that lock again.
    pub(crate) fn time_out(&mut self, ticket: Ticket) {
        let Some(call) = self.tickets.get_mut(&ticket) else { return };
        call.deadline = None;
        let WaitingCall { object, queue, owner, .. } = *call;
        let Some(entry) = self.objects.get_mut(&object) else { return };
        if !entry.must_reacquire(queue, ticket) {
            let error = entry.timeout_error(queue);
            self.fail(ticket, error);
            return;
        }
        self.resume_waiters(object);
        // It waits for its lock without a timeout now, which may be what a wait cycle lacked.
        if self.tickets.contains_key(&ticket) {
            self.break_deadlock(owner);
        }
    }

    /// Returns the earliest deadline of a waiting call; `None` if no waiting call has one.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Takes the answers of calls that have waited.
    pub(crate) fn take_answered(&mut self) -> Vec<(Ticket, Owner, Answer)> {
        std::mem::take(&mut self.answered)
    }

    /// Ends an owner: its call does not wait any longer, and what it holds is released. Without `success` its locks are
    /// poisoned, and the values that it has not worked off return to their queues.
    /// Returns the ticket of its call, if it waited for one.
    pub(crate) fn end_owner(&mut self, owner: Owner, success: bool) -> Option<Ticket> {
        self.dependencies.remove(&owner);
        let waited = self.waiting.get(&owner).copied();
        if let Some(ticket) = waited {
            self.remove_waiter(ticket);
        }
        for id in self.holdings.remove(&owner).unwrap_or_default() {
            if let Some(entry) = self.objects.get_mut(&id) {
                entry.object.end_owner(owner, success);
                self.resume_waiters(id);
            }
        }
        waited
    }

    /// Removes an object that no grant is left on.
    pub(crate) fn remove(&mut self, id: ObjectId) {
        let Some(mut entry) = self.objects.remove(&id) else { return };
        for ticket in entry.take_waiters() {
            if let Some(call) = self.remove_ticket(ticket) {
                self.answered.push((ticket, call.owner, Err(ObjectError::Closed)));
            }
        }
        if let Some(peer) = entry.object.peer() {
            // The other end of the pipe can receive nothing any more.
            self.close_end(peer);
        }
    }

    /// Answers all waiting calls with [`ObjectError::PoolClosed`].
    pub(crate) fn close(&mut self) {
        // The objects serve no call any more, so they need not hear that their waiters are gone.
        let tickets: Vec<Ticket> = self.objects.values_mut().flat_map(Entry::take_waiters).collect();
        for ticket in tickets {
            if let Some(call) = self.remove_ticket(ticket) {
                self.answered.push((ticket, call.owner, Err(ObjectError::PoolClosed)));
            }
        }
    }
}
