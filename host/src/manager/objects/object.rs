//! An object of any kind: how it is made, and which of its kind's functions a call goes to.

use wpool_abi::object::{Call, Kind, ObjectError};

use super::attempt::{Attempt, WaitState};
use super::barrier::Barrier;
use super::containers::{Dict, Sequence};
use super::locks::{Condition, Event, Lock, Semaphore};
use super::queue::Queue;
use crate::manager::grant::{ObjectId, Owner, Stored};

/// The kind of an object and its first state.
#[derive(Debug, Clone)]
pub(crate) enum ObjectInit {
    /// With `requeue`, the values that a task took and did not work off return when the task fails.
    Queue {
        /// The number of values that fit; `None` is bounded by their bytes alone.
        capacity: Option<u64>,
        requeue: bool,
    },
    Lock {
        reentrant: bool,
    },
    /// `count` is the number of permits; a bounded semaphore never has more.
    Semaphore {
        count: u64,
        bounded: bool,
    },
    Condition,
    Event,
    /// `parties` pass together; with `acts` the host runs an action before they do.
    Barrier {
        parties: u32,
        acts: bool,
    },
    Dict,
    Namespace,
    List,
    /// An array has the length of `values` for ever.
    Array {
        values: Vec<Stored>,
    },
    Value {
        value: Stored,
    },
}

impl ObjectInit {
    /// Returns the same state with changed values.
    pub(crate) fn map(self, mut change: impl FnMut(Stored) -> Stored) -> Self {
        match self {
            ObjectInit::Array { values } => {
                ObjectInit::Array { values: values.into_iter().map(change).collect() }
            }
            ObjectInit::Value { value } => ObjectInit::Value { value: change(value) },
            other => other,
        }
    }

    /// Returns the kind that a handle on the object has.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            ObjectInit::Queue { .. } => Kind::Queue,
            ObjectInit::Lock { reentrant: false } => Kind::Lock,
            ObjectInit::Lock { reentrant: true } => Kind::RLock,
            ObjectInit::Semaphore { .. } => Kind::Semaphore,
            ObjectInit::Condition => Kind::Condition,
            ObjectInit::Event => Kind::Event,
            ObjectInit::Barrier { .. } => Kind::Barrier,
            ObjectInit::Dict => Kind::Dict,
            ObjectInit::Namespace => Kind::Namespace,
            ObjectInit::List => Kind::List,
            ObjectInit::Array { .. } => Kind::Array,
            ObjectInit::Value { .. } => Kind::Value,
        }
    }
}

/// An object of any kind.
#[derive(Debug)]
pub(in crate::manager) enum Object {
    Queue(Queue),
    /// The receiving side of one end of a pipe.
    Pipe {
        queue: Queue,
        peer: ObjectId,
        /// Whether values can be put into this side.
        may_put: bool,
    },
    Lock(Lock),
    Semaphore(Semaphore),
    Condition(Condition),
    Event(Event),
    Barrier(Barrier),
    Dict(Dict),
    Sequence(Sequence),
}

/// The number of values that one direction of a pipe holds.
const PIPE_CAPACITY: u64 = 64;

impl Object {
    pub(in crate::manager) fn new(init: ObjectInit) -> Self {
        match init {
            ObjectInit::Queue { capacity, requeue } => Object::Queue(Queue::new(capacity, requeue)),
            ObjectInit::Lock { reentrant } => Object::Lock(Lock::new(reentrant)),
            ObjectInit::Semaphore { count, bounded } => Object::Semaphore(Semaphore::new(count, bounded)),
            ObjectInit::Condition => Object::Condition(Condition::default()),
            ObjectInit::Event => Object::Event(Event::default()),
            ObjectInit::Barrier { parties, acts } => Object::Barrier(Barrier::new(parties, acts)),
            ObjectInit::Dict | ObjectInit::Namespace => Object::Dict(Dict::default()),
            ObjectInit::List => Object::Sequence(Sequence::new(true, Vec::new())),
            ObjectInit::Array { values } => Object::Sequence(Sequence::new(false, values)),
            ObjectInit::Value { value } => Object::Sequence(Sequence::new(false, vec![value])),
        }
    }

    pub(in crate::manager) fn pipe_end(peer: ObjectId, may_put: bool) -> Self {
        Object::Pipe { queue: Queue::new(Some(PIPE_CAPACITY), false), peer, may_put }
    }

    /// The number of the values between two indices, and about how many bytes they have. All of a dictionary.
    pub(in crate::manager) fn extent(&self, from: i64, to: i64) -> (u64, u64) {
        match self {
            Object::Dict(dict) => dict.extent(),
            Object::Sequence(sequence) => sequence.extent(from, to),
            _ => (0, 0),
        }
    }

    /// Attempts to answer a call.
    pub(in crate::manager) fn attempt(
        &mut self,
        owner: Owner,
        call: &mut Call<Stored>,
        state: &mut WaitState,
    ) -> Attempt {
        match self {
            Object::Queue(queue) => queue.attempt(owner, call, state),
            Object::Pipe { queue, may_put, .. } => match call {
                Call::Put(_) | Call::Get(_) if !*may_put => Attempt::Never(ObjectError::NoRight),
                Call::TaskDone(_) | Call::Join => Attempt::Never(ObjectError::WrongKind),
                call => queue.attempt(owner, call, state),
            },
            Object::Lock(lock) => lock.attempt(owner, call),
            Object::Semaphore(semaphore) => semaphore.attempt(owner, call),
            Object::Condition(condition) => condition.attempt(owner, call, state),
            Object::Event(event) => event.attempt(call),
            Object::Barrier(barrier) => barrier.attempt(call, state),
            Object::Dict(dict) => dict.attempt(call),
            Object::Sequence(sequence) => sequence.attempt(call),
        }
    }

    /// Forgets a call that does not wait any longer.
    pub(in crate::manager) fn abandon(&mut self, state: &WaitState) {
        match self {
            Object::Condition(condition) => condition.abandon(state),
            Object::Barrier(barrier) => barrier.abandon(state),
            _ => {}
        }
    }

    pub(in crate::manager) fn is_barrier(&self) -> bool {
        matches!(self, Object::Barrier(_))
    }

    /// Ends the time of a waiting call. Returns whether it still waits, for the lock that it released to wait.
    pub(in crate::manager) fn must_reacquire(&mut self, state: &mut WaitState) -> bool {
        match self {
            Object::Condition(condition) => condition.must_reacquire(state),
            _ => false,
        }
    }

    /// Returns whether only the first call of each wait queue can succeed.
    pub(in crate::manager) fn is_fifo(&self) -> bool {
        !matches!(self, Object::Condition(_) | Object::Barrier(_))
    }

    /// Returns the single owner that blocks all others, if there is one.
    pub(in crate::manager) fn holder(&self) -> Option<Owner> {
        match self {
            Object::Lock(lock) => lock.holder(),
            Object::Condition(condition) => condition.holder(),
            _ => None,
        }
    }

    /// Returns whether the object has to know when the owner ends.
    pub(in crate::manager) fn is_held_by(&self, owner: Owner) -> bool {
        match self {
            Object::Lock(lock) => lock.holder() == Some(owner),
            Object::Condition(condition) => condition.holder() == Some(owner),
            Object::Semaphore(semaphore) => semaphore.is_held_by(owner),
            Object::Queue(queue) => queue.is_held_by(owner),
            _ => false,
        }
    }

    /// Releases what an owner holds, which has ended.
    pub(in crate::manager) fn end_owner(&mut self, owner: Owner, success: bool) {
        match self {
            Object::Lock(lock) => lock.end_owner(owner, success),
            Object::Condition(condition) => condition.end_owner(owner, success),
            Object::Semaphore(semaphore) => semaphore.end_owner(owner),
            Object::Queue(queue) => queue.end_owner(owner, success),
            _ => {}
        }
    }

    /// Takes back values that did not reach the owner that took them. They are the first ones again.
    pub(in crate::manager) fn give_back(&mut self, owner: Owner, values: Vec<Stored>, redelivered: bool) {
        if let Object::Queue(queue) | Object::Pipe { queue, .. } = self {
            queue.give_back(owner, values, redelivered);
        }
    }

    /// Returns the other end of a pipe; `None` for other objects.
    pub(in crate::manager) fn peer(&self) -> Option<ObjectId> {
        match self {
            Object::Pipe { peer, .. } => Some(*peer),
            _ => None,
        }
    }

    /// Closes the end of a pipe: it receives nothing more.
    pub(in crate::manager) fn close_end(&mut self) {
        if let Object::Pipe { queue, .. } = self {
            queue.close();
        }
    }

    /// Returns the round of a barrier whose action the host has to run now. Each round is returned once.
    pub(in crate::manager) fn take_pending_action(&mut self) -> Option<u64> {
        match self {
            Object::Barrier(barrier) => barrier.take_pending_action(),
            _ => None,
        }
    }

    /// Ends the action of a barrier's round.
    pub(in crate::manager) fn end_action(&mut self, round: u64, success: bool) {
        if let Object::Barrier(barrier) = self {
            barrier.end_action(round, success);
        }
    }
}
