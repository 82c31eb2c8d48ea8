//! The shared objects of a server, beside the store itself: their making, the callers that wait, and the limit of shared
//! memory.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, Kind, ObjectError, Wait};

use super::call::ObjectCall;
use super::mailbox::{Mail, MailReader, Mailbox};
use crate::ids::{MemoryId, TaskId};
use crate::lock::Mutex;
use crate::manager::{
    Answer, Called, Grant, ObjectId, ObjectInit, Owner, Released, SharedRegion, Store, Stored, Ticket,
};

/// The function that the host runs each time when all parties have come to a barrier.
pub(crate) type BarrierAction = Arc<Mutex<dyn FnMut() + Send>>;

/// The caller of a call that waits.
pub(crate) enum Caller {
    Host(Arc<ObjectCall>),
    /// A task of the pool of this mailbox.
    Task(TaskId, Arc<Mailbox>),
}

/// The consequences of a turn for others.
#[derive(Default)]
pub(super) struct Outcome {
    pub(super) answers: Vec<(Arc<ObjectCall>, Answer)>,
    /// Answers to the calls of tasks.
    pub(super) mail: Vec<(Arc<Mailbox>, Mail)>,
    /// Barriers to which all parties have come, each with its round.
    pub(super) actions: Vec<(BarrierAction, ObjectId, u64)>,
    /// The actions of barriers that are gone.
    pub(super) removed: Vec<BarrierAction>,
}

/// Which calls fail because the server, or the pool that it belongs to, has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closed {
    No,
    /// A call that would wait, as no task will answer it.
    Waits,
    All,
}

/// The shared objects of a server.
pub(crate) struct SharedObjects {
    pub(crate) store: Store,
    released: Arc<Released>,
    /// The callers of calls that wait.
    callers: HashMap<Ticket, Caller>,
    /// The mailboxes of the pools whose tasks have handles.
    attached: Vec<Weak<Mailbox>>,
    /// Which calls fail.
    closed: Closed,
    /// The size of each shared memory in bytes.
    memories: HashMap<MemoryId, u64>,
    /// The bytes that all shared memories may have together.
    memory_limit: u64,
    /// The actions of barriers, which the host runs when all parties have come.
    actions: HashMap<ObjectId, BarrierAction>,
}

impl SharedObjects {
    pub(crate) fn new(memory_limit: u64, released: Arc<Released>) -> Self {
        Self {
            store: Store::default(),
            released,
            callers: HashMap::new(),
            attached: Vec::new(),
            closed: Closed::No,
            memories: HashMap::new(),
            memory_limit,
            actions: HashMap::new(),
        }
    }

    /// The number of calls that wait.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.callers.len()
    }

    /// Makes an object.
    pub(crate) fn make(&mut self, init: ObjectInit) -> Grant {
        let kind = init.kind();
        Grant::new(self.store.make(init), kind, &self.released)
    }

    /// Makes a barrier. Calls that set no timeout of their own break it after `timeout`; `action` runs in the host each
    /// time before the parties go on.
    pub(crate) fn make_barrier(
        &mut self,
        parties: u32,
        timeout: Option<Duration>,
        action: Option<BarrierAction>,
    ) -> Grant {
        let id = self.store.make(ObjectInit::Barrier { parties, acts: action.is_some() });
        self.actions.extend(action.map(|action| (id, action)));
        Grant::with_timeout(id, Kind::Barrier, timeout, &self.released)
    }

    /// Makes the two ends of a pipe.
    pub(crate) fn make_pipe(&mut self, duplex: bool) -> [Grant; 2] {
        self.store.make_pipe(duplex).map(|id| Grant::new(id, Kind::Pipe, &self.released))
    }

    /// Checks whether `len` more bytes of shared memory are within the limit.
    pub(crate) fn check_memory(&mut self, len: u64) -> Result<(), ObjectError> {
        // Released memory does not count, also if it was not removed yet.
        let memories = &mut self.memories;
        self.released.for_each(|id| {
            memories.remove(&id.memory());
        });
        let used: u64 = self.memories.values().sum();
        if used.checked_add(len).is_some_and(|sum| sum <= self.memory_limit) {
            return Ok(());
        }
        let limit = self.memory_limit;
        Err(ObjectError::Quota(format!("{used} bytes of shared memory and {len} more, {limit} are allowed")))
    }

    /// Adds shared memory, if it is within the limit.
    pub(crate) fn add_memory(&mut self, region: SharedRegion) -> Result<Grant, ObjectError> {
        let len = region.memory.size() as u64;
        self.check_memory(len)?;
        let id = Store::next_id();
        self.memories.insert(id.memory(), len);
        Ok(Grant::on_memory(id, region, &self.released))
    }

    /// Tells a pool's mailbox of memory that goes, and its driver of threads that wait. A second time changes nothing.
    pub(crate) fn attach(&mut self, mailbox: &Arc<Mailbox>) {
        self.attached
            .retain(|known| known.strong_count() > 0 && !std::ptr::eq(known.as_ptr(), Arc::as_ptr(mailbox)));
        self.attached.push(Arc::downgrade(mailbox));
    }

    /// The pools whose tasks may answer a call that waits.
    pub(super) fn readers(&self) -> Vec<Arc<dyn MailReader>> {
        self.attached.iter().filter_map(|mailbox| mailbox.upgrade()?.reader()).collect()
    }

    /// Makes a call. If it waits, the answer goes to `caller`.
    pub(super) fn call(
        &mut self,
        owner: Owner,
        object: ObjectId,
        call: Call<Stored>,
        wait: Wait<Instant>,
        caller: impl FnOnce() -> Caller,
    ) -> Called {
        if self.closed == Closed::All {
            return Called::Answered(Err(ObjectError::PoolClosed));
        }
        let closed = self.closed == Closed::Waits && wait != Wait::NonBlocking;
        let wait = if closed { Wait::NonBlocking } else { wait };
        match self.store.call(owner, object, call, wait) {
            Called::Answered(Err(error)) if closed && would_wait(&error) => {
                Called::Answered(Err(ObjectError::PoolClosed))
            }
            Called::Waits(ticket) => {
                self.callers.insert(ticket, caller());
                Called::Waits(ticket)
            }
            answered => answered,
        }
    }

    /// Ends the wait of a call of the host that has given up.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        if self.callers.remove(&ticket).is_some() {
            self.store.abandon(ticket);
        }
    }

    /// Ends the wait of a call of the host whose time is over.
    pub(crate) fn time_out(&mut self, ticket: Ticket) {
        self.store.time_out(ticket);
    }

    /// Ends a task: its call waits no longer, and what it holds is released.
    pub(crate) fn end_task(&mut self, task: TaskId, success: bool) {
        if let Some(ticket) = self.store.end_owner(Owner::Task(task), success) {
            self.callers.remove(&ticket);
        }
    }

    /// Answers all calls that wait, and from now on those that `closed` says, with [`ObjectError::PoolClosed`].
    pub(crate) fn close(&mut self, closed: Closed) {
        self.closed = self.closed.max(closed);
        self.store.close();
    }

    /// Removes objects that no grant is left on, and takes the answers of calls that have waited. Either may bring about
    /// more of both.
    pub(super) fn settle(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        loop {
            let (answered, released) = (self.store.take_answered(), self.released.take());
            for (barrier, round) in self.store.take_pending_actions() {
                let action = self.actions.get(&barrier).map(|action| (Arc::clone(action), barrier, round));
                outcome.actions.extend(action);
            }
            if answered.is_empty() && released.is_empty() {
                return outcome;
            }
            for (ticket, _, answer) in answered {
                match self.callers.remove(&ticket) {
                    Some(Caller::Host(call)) => outcome.answers.push((call, answer)),
                    Some(Caller::Task(task, mailbox)) => {
                        outcome.mail.push((mailbox, Mail::Answered(task, ticket, answer)));
                    }
                    None => {}
                }
            }
            for id in released {
                self.remove(id, &mut outcome);
            }
        }
    }

    /// Takes the actions of all barriers.
    pub(super) fn take_actions(&mut self) -> HashMap<ObjectId, BarrierAction> {
        std::mem::take(&mut self.actions)
    }

    /// Removes an object that no grant is left on.
    fn remove(&mut self, id: ObjectId, outcome: &mut Outcome) {
        if self.memories.remove(&id.memory()).is_some() {
            let pools = self.attached.iter().filter_map(Weak::upgrade);
            outcome.mail.extend(pools.map(|mailbox| (mailbox, Mail::Removed(id.memory()))));
        }
        self.store.remove(id);
        outcome.removed.extend(self.actions.remove(&id));
    }
}

/// Whether a call that may wait would not have got this error.
fn would_wait(error: &ObjectError) -> bool {
    matches!(error, ObjectError::Full | ObjectError::Empty | ObjectError::Held | ObjectError::TimedOut)
}

#[cfg(test)]
mod tests {
    use wpool_abi::object::Number;
    use wpool_wire::memory::SharedMemory;

    use super::*;

    fn objects(memory_limit: u64) -> SharedObjects {
        SharedObjects::new(memory_limit, Arc::default())
    }

    #[test]
    fn shared_memory_is_bounded_and_comes_back() {
        let mut objects = objects(100);
        let make = |objects: &mut SharedObjects, len| {
            let (memory, file) = SharedMemory::create(Number::U8, len).unwrap();
            objects.add_memory(SharedRegion { memory, file })
        };
        let first = make(&mut objects, 60).unwrap();
        assert!(matches!(make(&mut objects, 41), Err(ObjectError::Quota(_))));
        let _second = make(&mut objects, 40).unwrap();
        drop(first);
        assert!(make(&mut objects, 60).is_ok());
    }

    #[test]
    fn an_object_that_is_released_is_removed_with_its_action() {
        let mut objects = objects(0);
        let action: BarrierAction = Arc::new(crate::lock::Mutex::new(|| {}));
        let barrier = objects.make_barrier(2, None, Some(action));
        let id = barrier.id();
        drop(barrier);
        assert_eq!(objects.settle().removed.len(), 1);
        assert!(objects.store.count() == 0 && objects.actions.is_empty(), "{id:?}");
    }
}
