//! One object and the calls that wait at it, in one queue per kind of wait.

use std::collections::{BTreeMap, VecDeque};

use wpool_abi::object::{Call, ObjectError};

use super::grant::{Answer, Owner, Stored, Ticket};
use super::objects::{Attempt, Object, WaitState};

/// The number of calls that may wait at one object.
pub(super) const MAX_WAITERS: usize = 100_000;

/// An object with its waiters.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) object: Object,
    /// Each queue is in the order of arrival.
    queues: BTreeMap<WaitQueue, VecDeque<Waiter>>,
    /// The length of all queues together.
    count: usize,
}

/// A call that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) ticket: Ticket,
    pub(super) owner: Owner,
    pub(super) call: Call<Stored>,
    pub(super) state: WaitState,
}

/// A waiter that has its answer.
#[derive(Debug)]
pub(super) struct Resumed {
    pub(super) ticket: Ticket,
    pub(super) owner: Owner,
    pub(super) answer: Answer,
    /// Whether the owner holds a part of the object since.
    pub(super) holds: bool,
}

/// The event that a call waits for. Calls in the same queue compete, so the first one goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum WaitQueue {
    Put,
    Get,
    Poll,
    Join,
    Acquire,
    Wait,
    /// Of calls that never wait.
    Immediate,
}

impl WaitQueue {
    pub(super) fn of(call: &Call<Stored>) -> Self {
        match call {
            Call::Put(_) => Self::Put,
            Call::Get(_) => Self::Get,
            Call::Poll => Self::Poll,
            Call::Join => Self::Join,
            Call::Acquire => Self::Acquire,
            Call::Wait => Self::Wait,
            _ => Self::Immediate,
        }
    }
}

impl Entry {
    pub(super) fn new(object: Object) -> Self {
        Self { object, queues: BTreeMap::new(), count: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count >= MAX_WAITERS
    }

    /// Whether a new call has to queue behind others that wait for the same.
    pub(super) fn must_queue(&self, owner: Owner, queue: WaitQueue) -> bool {
        // The holder of a lock overtakes the others: they cannot get the lock before it releases it.
        self.object.is_fifo()
            && queue != WaitQueue::Immediate
            && self.object.holder() != Some(owner)
            && self.queues.get(&queue).is_some_and(|waiters| !waiters.is_empty())
    }

    pub(super) fn push(&mut self, queue: WaitQueue, waiter: Waiter) {
        self.count += 1;
        self.queues.entry(queue).or_default().push_back(waiter);
    }

    pub(super) fn remove(&mut self, queue: WaitQueue, ticket: Ticket) -> Option<Waiter> {
        let waiters = self.queues.get_mut(&queue)?;
        let index = waiters.iter().position(|waiter| waiter.ticket == ticket)?;
        self.count -= 1;
        waiters.remove(index)
    }

    /// Ends the time of a waiter. Returns whether the call still waits, for the lock that it released to wait.
    pub(super) fn must_reacquire(&mut self, queue: WaitQueue, ticket: Ticket) -> bool {
        let mut waiters = self.queues.get_mut(&queue).into_iter().flatten();
        let waiter = waiters.find(|waiter| waiter.ticket == ticket);
        waiter.is_some_and(|waiter| self.object.must_reacquire(&mut waiter.state))
    }

    /// The error of a call whose time is over, as Python's objects have it.
    pub(super) fn timeout_error(&self, queue: WaitQueue) -> ObjectError {
        match queue {
            WaitQueue::Put => ObjectError::Full,
            WaitQueue::Get => ObjectError::Empty,
            WaitQueue::Wait if self.object.is_barrier() => ObjectError::Broken,
            _ => ObjectError::TimedOut,
        }
    }

    /// Attempts the waiting calls again until none of them gets an answer. Returns those that did.
    pub(super) fn resume(&mut self) -> Vec<Resumed> {
        let mut resumed = Vec::new();
        loop {
            let before = resumed.len();
            for waiters in self.queues.values_mut() {
                resume_queue(&mut self.object, waiters, &mut resumed);
            }
            // An answer in one queue can make one in another possible: a value that is taken makes room for a `put`.
            if resumed.len() == before {
                self.count -= resumed.len();
                return resumed;
            }
        }
    }

    /// Removes all waiting calls, and returns their tickets.
    pub(super) fn take_waiters(&mut self) -> Vec<Ticket> {
        self.count = 0;
        let queues = std::mem::take(&mut self.queues);
        queues.into_values().flatten().map(|waiter| waiter.ticket).collect()
    }
}

fn resume_queue(object: &mut Object, waiters: &mut VecDeque<Waiter>, resumed: &mut Vec<Resumed>) {
    let mut index = 0;
    while let Some(waiter) = waiters.get_mut(index) {
        let answer = match object.attempt(waiter.owner, &mut waiter.call, &mut waiter.state) {
            Attempt::Done(answer) => answer,
            Attempt::Never(error) => Err(error),
            Attempt::Wait(_) if object.is_fifo() => return,
            Attempt::Wait(_) => {
                index += 1;
                continue;
            }
        };
        let Some(Waiter { ticket, owner, .. }) = waiters.remove(index) else { return };
        let holds = answer.is_ok() && object.is_held_by(owner);
        resumed.push(Resumed { ticket, owner, answer, holds });
    }
}
