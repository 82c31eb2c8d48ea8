//! The shared objects of a pool, beside the store itself: their making, the host's calls that wait, and the limit of
//! shared memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wpool_abi::object::{Call, Kind, ObjectError, Wait};

use super::cell::object_call::ObjectCall;
use super::effects::BarrierAction;
use crate::ids::MemoryId;
use crate::manager::{
    Answer, Called, Grant, ObjectId, ObjectInit, Owner, Released, SharedRegion, Store, Stored, Ticket,
};

/// The shared objects of a pool.
pub(crate) struct SharedObjects {
    pub(super) store: Store,
    pub(super) released: Arc<Released>,
    /// Calls of the host that wait for an answer.
    calls: HashMap<Ticket, Arc<ObjectCall>>,
    /// The size of each shared memory in bytes.
    memories: HashMap<MemoryId, u64>,
    /// The bytes that all shared memories may have together.
    memory_limit: u64,
    /// The actions of barriers, which the host runs when all parties have come.
    actions: HashMap<ObjectId, BarrierAction>,
}

/// The outcome of a call by the host.
pub(crate) enum HostCalled {
    Answered(Answer),
    Waits(Ticket, Arc<ObjectCall>),
}

impl SharedObjects {
    pub(crate) fn new(memory_limit: u64, released: Arc<Released>) -> Self {
        Self {
            store: Store::default(),
            released,
            calls: HashMap::new(),
            memories: HashMap::new(),
            memory_limit,
            actions: HashMap::new(),
        }
    }

    /// The number of objects in the store.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.store.count()
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
        let id = self.store.next_id();
        self.memories.insert(id.memory(), len);
        Ok(Grant::on_memory(id, region, &self.released))
    }

    /// Makes a call on behalf of the host.
    pub(super) fn call(
        &mut self,
        owner: Owner,
        object: ObjectId,
        call: Call<Stored>,
        wait: Wait<Instant>,
    ) -> HostCalled {
        let verb = call.verb();
        match self.store.call(owner, object, call, wait) {
            Called::Answered(answer) => HostCalled::Answered(answer),
            Called::Waits(ticket) => {
                let call = Arc::new(ObjectCall::new(owner, object, verb));
                self.calls.insert(ticket, Arc::clone(&call));
                HostCalled::Waits(ticket, call)
            }
        }
    }

    /// Takes the call of the host that waits under a ticket.
    pub(super) fn take_call(&mut self, ticket: Ticket) -> Option<Arc<ObjectCall>> {
        self.calls.remove(&ticket)
    }

    /// Ends the wait of a call of the host that has given up.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        if self.calls.remove(&ticket).is_some() {
            self.store.abandon(ticket);
        }
    }

    /// Ends the wait of a call of the host whose time is over.
    pub(crate) fn time_out(&mut self, ticket: Ticket) {
        self.store.time_out(ticket);
    }

    /// Gives back the values or the lock in an answer that no caller took.
    pub(super) fn give_back(&mut self, call: &ObjectCall, answer: Answer) {
        if let Ok(reply) = answer {
            self.store.give_back(call.owner, call.object, call.verb, reply);
        }
    }

    /// The action of a barrier.
    pub(super) fn action(&self, barrier: ObjectId) -> Option<BarrierAction> {
        self.actions.get(&barrier).map(Arc::clone)
    }

    /// Removes an object that no grant is left on. Returns its action, which must not be dropped under the lock.
    pub(super) fn remove(&mut self, id: ObjectId) -> Option<BarrierAction> {
        self.memories.remove(&id.memory());
        self.store.remove(id);
        self.actions.remove(&id)
    }
}

#[cfg(test)]
mod tests {
    use wpool_abi::object::{Number, Reply};
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
    fn a_call_of_the_host_waits_under_its_ticket_until_it_is_taken_or_abandoned() {
        let mut objects = objects(0);
        let event = objects.make(ObjectInit::Event);
        let wait = |objects: &mut SharedObjects, owner| match objects.call(
            Owner::Host(owner),
            event.id(),
            Call::Wait,
            Wait::Forever,
        ) {
            HostCalled::Waits(ticket, _) => ticket,
            HostCalled::Answered(answer) => panic!("{answer:?}"),
        };
        let (first, second) = (wait(&mut objects, 1), wait(&mut objects, 2));
        objects.abandon(second);
        assert!(objects.take_call(second).is_none());
        let set = objects.call(Owner::Host(3), event.id(), Call::Flag(true), Wait::NonBlocking);
        assert!(matches!(set, HostCalled::Answered(Ok(Reply::Done))));
        let answered: Vec<Ticket> =
            objects.store.take_answered().into_iter().map(|(ticket, ..)| ticket).collect();
        assert_eq!(answered, [first]);
        assert!(objects.take_call(first).is_some() && objects.take_call(first).is_none());
    }

    #[test]
    fn an_object_that_is_released_is_removed_with_its_action() {
        let mut objects = objects(0);
        let action: BarrierAction = Arc::new(crate::lock::Mutex::new(|| {}));
        let barrier = objects.make_barrier(2, None, Some(action));
        let id = barrier.id();
        assert!(objects.action(id).is_some());
        drop(barrier);
        assert_eq!(objects.released.take(), [id]);
        assert!(objects.remove(id).is_some() && objects.action(id).is_none());
    }
}
