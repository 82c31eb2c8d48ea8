//! The objects: what each answers to what, and when a call has to wait.

mod containers;
mod locks;
mod queue;

use wpool_abi::object::{Call, Kind, ObjectError, Reply};

use self::containers::{Dict, Sequence};
use self::locks::{Barrier, Condition, Event, Lock, Semaphore};
use self::queue::Queue;
use super::grant::{Answer, ObjectId, Owner, Stored};

/// What came of an attempt.
#[derive(Debug, PartialEq)]
pub(super) enum Attempt {
    Done(Answer),
    /// It never will be.
    Never(ObjectError),
    /// Not now; this is the error for who does not wait.
    Wait(ObjectError),
}

impl Attempt {
    fn reply(reply: Reply<Stored>) -> Self {
        Attempt::Done(Ok(reply))
    }

    fn flag(flag: bool) -> Self {
        Self::reply(Reply::Flag(flag))
    }
}

/// What an object remembers of a call that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Memo {
    /// The number under which it waits, once it does.
    number: Option<u64>,
    /// Its time is over, and it only has to get its lock back.
    late: bool,
}

/// What an object is made as.
#[derive(Debug, Clone)]
pub(crate) enum ObjectInit {
    /// With room for so many values; whether what a task took comes back if the task fails.
    Queue {
        capacity: Option<u64>,
        requeue: bool,
    },
    Lock {
        reentrant: bool,
    },
    /// How many can hold it, and whether there can never be more.
    Semaphore {
        count: u64,
        bounded: bool,
    },
    Condition,
    Event,
    /// How many pass together, and whether the host does something before they do.
    Barrier {
        parties: u32,
        acts: bool,
    },
    Dict,
    Namespace,
    List,
    /// Its values, as many as it will ever have.
    Array {
        values: Vec<Stored>,
    },
    Value {
        value: Stored,
    },
}

impl ObjectInit {
    /// What the object is to those who use it.
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

#[derive(Debug)]
pub(super) enum Object {
    Queue(Queue),
    Pipe { queue: Queue, peer: ObjectId, may_put: bool },
    Lock(Lock),
    Semaphore(Semaphore),
    Condition(Condition),
    Event(Event),
    Barrier(Barrier),
    Dict(Dict),
    Sequence(Sequence),
}

/// So many messages wait in a pipe before who sends has to.
const PIPE: u64 = 64;

impl Object {
    pub(super) fn new(shape: ObjectInit) -> Self {
        match shape {
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

    pub(super) fn pipe_end(peer: ObjectId, may_put: bool) -> Self {
        Object::Pipe { queue: Queue::new(Some(PIPE), false), peer, may_put }
    }

    /// The other end of a pipe.
    pub(super) fn peer(&self) -> Option<ObjectId> {
        match self {
            Object::Pipe { peer, .. } => Some(*peer),
            _ => None,
        }
    }

    /// The other end of a pipe is gone: nothing more comes, and what is put goes nowhere.
    pub(super) fn peer_is_gone(&mut self) {
        if let Object::Pipe { queue, .. } = self {
            queue.close();
        }
    }

    /// Whether the first who waits for something is the only one who could go on.
    pub(super) fn is_fifo(&self) -> bool {
        !matches!(self, Object::Condition(_) | Object::Barrier(_))
    }

    /// Who has to let go before anybody else goes on, if there is one.
    pub(super) fn holder(&self) -> Option<Owner> {
        match self {
            Object::Lock(lock) => lock.holder(),
            Object::Condition(condition) => condition.holder(),
            _ => None,
        }
    }

    /// Whether the end of an owner would matter here.
    pub(super) fn is_held_by(&self, owner: Owner) -> bool {
        match self {
            Object::Lock(lock) => lock.holder() == Some(owner),
            Object::Condition(condition) => condition.holder() == Some(owner),
            Object::Semaphore(semaphore) => semaphore.is_held_by(owner),
            Object::Queue(queue) => queue.is_held_by(owner),
            _ => false,
        }
    }

    /// An owner who held something has ended.
    pub(super) fn owner_ended(&mut self, owner: Owner, success: bool) {
        match self {
            Object::Lock(lock) => lock.owner_ended(owner, success),
            Object::Condition(condition) => condition.owner_ended(owner, success),
            Object::Semaphore(semaphore) => semaphore.owner_ended(owner),
            Object::Queue(queue) => queue.owner_ended(owner, success),
            _ => {}
        }
    }

    /// Values that were taken and never arrived are the next ones again.
    pub(super) fn give_back(&mut self, values: Vec<Stored>, again: bool) {
        if let Object::Queue(queue) | Object::Pipe { queue, .. } = self {
            queue.give_back(values, again);
        }
    }

    /// The round of a barrier in which the host has something to do now.
    pub(super) fn take_due(&mut self) -> Option<u64> {
        match self {
            Object::Barrier(barrier) => barrier.take_due(),
            _ => None,
        }
    }

    /// The host has done so, or failed.
    pub(super) fn acted(&mut self, round: u64, success: bool) {
        if let Object::Barrier(barrier) = self {
            barrier.acted(round, success);
        }
    }

    /// A call that waits is not interested any more.
    pub(super) fn gave_up(&mut self, memo: &Memo) {
        match self {
            Object::Condition(condition) => condition.gave_up(memo),
            Object::Barrier(barrier) => barrier.gave_up(memo),
            _ => {}
        }
    }

    /// A call's time is over. Whether it still has to wait, for its lock.
    pub(super) fn comes_back(&mut self, memo: &mut Memo) -> bool {
        match self {
            Object::Condition(condition) => condition.comes_back(memo),
            _ => false,
        }
    }

    pub(super) fn attempt(&mut self, owner: Owner, call: &mut Call<Stored>, memo: &mut Memo) -> Attempt {
        match self {
            Object::Queue(queue) => queue.attempt(owner, call),
            Object::Pipe { queue, may_put, .. } => match call {
                Call::Put(_) if !*may_put => Attempt::Never(ObjectError::NoRight),
                Call::TaskDone(_) | Call::Join => Attempt::Never(ObjectError::WrongKind),
                call => queue.attempt(owner, call),
            },
            Object::Lock(lock) => lock.attempt(owner, call),
            Object::Semaphore(semaphore) => semaphore.attempt(owner, call),
            Object::Condition(condition) => condition.attempt(owner, call, memo),
            Object::Event(event) => event.attempt(call),
            Object::Barrier(barrier) => barrier.attempt(call, memo),
            Object::Dict(dict) => dict.attempt(call),
            Object::Sequence(sequence) => sequence.attempt(call),
        }
    }
}
