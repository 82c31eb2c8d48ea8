//! What objects are named, owned and reached by: ids, owners, tickets, and the grants that keep an object.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use wpool_abi::object::{Item, Kind, ObjectError, Reply, Rights};
use wpool_wire::memory::{MemoryFile, SharedMemory};

use crate::ids::{MemoryId, TaskId};

/// Bytes of values that one object may hold.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// One object of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId(pub(super) u64);

impl ObjectId {
    /// The id of the object as shared memory.
    pub(crate) fn memory(self) -> MemoryId {
        MemoryId(self.0)
    }
}

/// A call that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Ticket(pub(super) u64);

/// The party that makes a call, waits and holds locks. Owners are ordered by age; the younger one compares greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// A thread or an `.await` of the host's program.
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

/// How a call ended.
pub(crate) type Answer = Result<Reply<Stored>, ObjectError>;

/// The right to use an object. An object lives as long as there is a grant on it.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    object: Arc<ObjectRef>,
    pub(crate) rights: Rights,
}

impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id() && self.rights == other.rights
    }
}

impl Grant {
    /// The first grant on an object. When it and all that come of it are gone, the object's id is left with `released`.
    pub(crate) fn new(id: ObjectId, kind: Kind, released: &Arc<Released>) -> Self {
        Self::with_timeout(id, kind, None, released)
    }

    /// The first grant on an object at which calls without a timeout of their own wait for `timeout` at most.
    pub(crate) fn with_timeout(
        id: ObjectId,
        kind: Kind,
        timeout: Option<Duration>,
        released: &Arc<Released>,
    ) -> Self {
        Self::on(ObjectRef { id, kind, region: None, timeout, released: Arc::clone(released) })
    }

    /// The first grant on shared memory.
    pub(crate) fn on_memory(id: ObjectId, region: SharedRegion, released: &Arc<Released>) -> Self {
        let (kind, released) = (Kind::SharedArray, Arc::clone(released));
        Self::on(ObjectRef { id, kind, region: Some(region), timeout: None, released })
    }

    fn on(object: ObjectRef) -> Self {
        Self { object: Arc::new(object), rights: Rights::ALL }
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.object.id
    }

    pub(crate) fn kind(&self) -> Kind {
        self.object.kind
    }

    /// The timeout of calls that set none of their own; `None` is for ever.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.object.timeout
    }

    /// The shared memory behind a handle; `None` for other objects.
    pub(crate) fn region(&self) -> Option<&SharedRegion> {
        self.object.region.as_ref()
    }

    /// Where the object's id goes when its last grant is gone.
    pub(crate) fn released(&self) -> &Arc<Released> {
        &self.object.released
    }

    /// The same object with no more rights than these.
    pub(crate) fn narrowed(&self, rights: Rights) -> Self {
        Self { object: Arc::clone(&self.object), rights: self.rights.and(rights) }
    }
}

/// Shared memory, as the process that made it has it.
#[derive(Debug)]
pub(crate) struct SharedRegion {
    pub(crate) memory: SharedMemory,
    pub(crate) file: MemoryFile,
}

/// What all grants on one object share.
#[derive(Debug)]
struct ObjectRef {
    id: ObjectId,
    kind: Kind,
    region: Option<SharedRegion>,
    timeout: Option<Duration>,
    released: Arc<Released>,
}

impl Drop for ObjectRef {
    fn drop(&mut self) {
        self.released.ids.lock().push(self.id);
    }
}

/// The inbox of objects without grants. They are removed where that is safe: a grant may be dropped while the store is at
/// work, or under a lock of the caller's.
#[derive(Default)]
pub(crate) struct Released {
    ids: Mutex<Vec<ObjectId>>,
    /// Has somebody empty the inbox.
    wake: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl fmt::Debug for Released {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Released").field(&self.ids.lock()).finish()
    }
}

impl Released {
    /// Sets what has the inbox emptied, once.
    pub(crate) fn set_wake(&self, wake: impl Fn() + Send + Sync + 'static) {
        // A second hook would be a bug of ours, and the first one is as good.
        let _set = self.wake.set(Box::new(wake));
    }

    /// Has the inbox emptied if there is something in it.
    pub(crate) fn wake_if_any(&self) {
        if self.any()
            && let Some(wake) = self.wake.get()
        {
            wake();
        }
    }

    /// Whether there is something in it.
    pub(crate) fn any(&self) -> bool {
        !self.ids.lock().is_empty()
    }

    /// Applies `look` to each id in it.
    pub(crate) fn for_each(&self, look: impl FnMut(&ObjectId)) {
        self.ids.lock().iter().for_each(look);
    }

    /// Empties it.
    pub(crate) fn take(&self) -> Vec<ObjectId> {
        std::mem::take(&mut self.ids.lock())
    }
}
