//! Shared objects: queues, locks, dictionaries and the rest, which live in the parent and are reached by handles.
//!
//! `store` is all of them, pure. `objects` is what each kind does. Whoever has a [`Grant`] may use an object as far as
//! its rights go; when nobody has one any more, the object is gone.

mod objects;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wpool_abi::object::{Item, Kind, Rights};

pub(crate) use self::objects::Shape;
pub(crate) use self::store::{Answer, Called, Store};

use crate::ids::{MemoryId, TaskId};
use wpool_wire::memory::{MemoryFile, SharedMemory};

/// Bytes of values that one object may hold.
const MAX_BYTES: u64 = 64 << 20;

/// One object of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId(u64);

impl ObjectId {
    /// The number of shared memory.
    pub(crate) fn memory(self) -> MemoryId {
        MemoryId(self.0)
    }
}

/// A call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(u64);

/// Who calls, waits and holds. Of two the greater is the younger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// Somebody in the host's program: a thread, or an `.await`.
    Host(u64),
    Task(TaskId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Host(number) => write!(f, "the host's caller {number}"),
            Owner::Task(task) => write!(f, "task {task}"),
        }
    }
}

/// A value with the grants that travel with it.
pub(crate) type Stored = Item<Grant>;

/// The right to use an object. What has one keeps the object.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    object: Arc<Kept>,
    pub(crate) rights: Rights,
}

impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id() && self.rights == other.rights
    }
}

impl Grant {
    /// The first grant on an object. When it and all that come of it are gone, the object's number is left with
    /// `abandoned`.
    pub(crate) fn new(id: ObjectId, kind: Kind, abandoned: &Arc<Abandoned>) -> Self {
        Self::patient(id, kind, None, abandoned)
    }

    /// The first grant on an object at which nobody waits longer than that, unless it says so.
    pub(crate) fn patient(
        id: ObjectId,
        kind: Kind,
        patience: Option<Duration>,
        abandoned: &Arc<Abandoned>,
    ) -> Self {
        Self::on(Kept { id, kind, region: None, patience, abandoned: Arc::clone(abandoned) })
    }

    /// The first grant on shared memory.
    pub(crate) fn on_memory(id: ObjectId, region: Region, abandoned: &Arc<Abandoned>) -> Self {
        Self::on(Kept {
            id,
            kind: Kind::SharedArray,
            region: Some(region),
            patience: None,
            abandoned: Arc::clone(abandoned),
        })
    }

    fn on(object: Kept) -> Self {
        Self { object: Arc::new(object), rights: Rights::ALL }
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.object.id
    }

    pub(crate) fn kind(&self) -> Kind {
        self.object.kind
    }

    /// How long those wait here who do not say.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.object.patience
    }

    /// What a handle on shared memory is to.
    pub(crate) fn region(&self) -> Option<&Region> {
        self.object.region.as_ref()
    }

    /// The same object with no more rights than these.
    pub(crate) fn narrowed(&self, rights: Rights) -> Self {
        Self { object: Arc::clone(&self.object), rights: self.rights.and(rights) }
    }
}

/// Shared memory, as the process has it that made it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) memory: SharedMemory,
    pub(crate) file: MemoryFile,
}

#[derive(Debug)]
struct Kept {
    id: ObjectId,
    kind: Kind,
    region: Option<Region>,
    patience: Option<Duration>,
    abandoned: Arc<Abandoned>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.abandoned.lock().push(self.id);
    }
}

/// Objects that nobody has a grant on any more. They are removed where that is safe: a grant may go while the store
/// itself is at work.
#[derive(Debug, Default)]
pub(crate) struct Abandoned(Mutex<Vec<ObjectId>>);

impl Abandoned {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ObjectId>> {
        // Nothing that can panic runs under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there are any.
    pub(crate) fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    /// All of them, as they are now.
    pub(crate) fn lock_all(&self) -> impl std::ops::Deref<Target = Vec<ObjectId>> + '_ {
        self.lock()
    }

    /// Takes all of them.
    pub(crate) fn take(&self) -> Vec<ObjectId> {
        std::mem::take(&mut self.lock())
    }
}
