//! Ids, owners and tickets, and the grants that give access to an object and keep it alive.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use wpool_abi::object::{Item, Kind, ObjectError, Reply, Rights};
use wpool_wire::memory::{MemoryFile, SharedMemory};

use crate::ids::{MemoryId, TaskId};
use crate::lock::Mutex;

/// The size of all values of one object, in bytes.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The id of an object, unique within the program: two managers have no object of the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ObjectId(pub(super) u64);

impl ObjectId {
    /// The id of the object as shared memory.
    pub(crate) fn memory(self) -> MemoryId {
        MemoryId(self.0)
    }
}

/// The id of a waiting call.
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
            Owner::Host(id) => write!(f, "the host's caller {id}"),
            Owner::Task(task) => write!(f, "task {task}"),
        }
    }
}

/// A value with the grants on the objects that it refers to.
pub(crate) type Stored = Item<Grant>;

/// The result of a call.
pub(crate) type Answer = Result<Reply<Stored>, ObjectError>;

/// The server that keeps an object. This folder does not know it.
pub(crate) type Home = Arc<dyn Any + Send + Sync>;

/// The right to use an object. The object exists as long as there is a grant on it.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    object: Arc<ObjectRef>,
    pub(crate) rights: Rights,
    /// Keeps the object's server; `None` while the grant is in a value of that server, which would keep itself otherwise.
    home: Option<Home>,
}

impl PartialEq for Grant {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id() && self.rights == other.rights
    }
}

impl Grant {
    /// Makes the first grant on an object. `released` gets the object's id when the last grant is dropped.
    pub(crate) fn new(id: ObjectId, kind: Kind, released: &Arc<Released>) -> Self {
        Self::with_timeout(id, kind, None, released)
    }

    /// Makes the first grant on an object whose calls wait for at most `timeout` if they set no timeout of their own.
    pub(crate) fn with_timeout(
        id: ObjectId,
        kind: Kind,
        timeout: Option<Duration>,
        released: &Arc<Released>,
    ) -> Self {
        Self::on(ObjectRef { id, kind, region: None, timeout, released: Arc::clone(released) })
    }

    /// Makes the first grant on shared memory.
    pub(crate) fn on_memory(id: ObjectId, region: SharedRegion, released: &Arc<Released>) -> Self {
        let (kind, released) = (Kind::SharedArray, Arc::clone(released));
        Self::on(ObjectRef { id, kind, region: Some(region), timeout: None, released })
    }

    fn on(object: ObjectRef) -> Self {
        Self { object: Arc::new(object), rights: Rights::ALL, home: None }
    }

    /// The same grant, which keeps the object's server.
    pub(crate) fn kept_by(self, home: Home) -> Self {
        Self { home: self.home.or(Some(home)), ..self }
    }

    /// The grant enters the server with this inbox. Its own grants do not keep it.
    pub(crate) fn enter(&mut self, server: &Arc<Released>) {
        if Arc::ptr_eq(self.released(), server) {
            self.home = None;
        }
    }

    /// The object's server; `None` within it.
    pub(crate) fn home(&self) -> Option<&Home> {
        self.home.as_ref()
    }

    pub(crate) fn id(&self) -> ObjectId {
        self.object.id
    }

    pub(crate) fn kind(&self) -> Kind {
        self.object.kind
    }

    /// Returns the timeout of calls that set none of their own; `None` is no timeout.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.object.timeout
    }

    /// Returns the shared memory; `None` for objects of other kinds.
    pub(crate) fn region(&self) -> Option<&SharedRegion> {
        self.object.region.as_ref()
    }

    /// Returns the inbox that gets the object's id when the last grant is dropped.
    pub(crate) fn released(&self) -> &Arc<Released> {
        &self.object.released
    }

    /// Returns a grant on the same object with the rights that are both in this grant and in `rights`.
    pub(crate) fn narrowed(&self, rights: Rights) -> Self {
        Self { object: Arc::clone(&self.object), rights: self.rights.and(rights), home: self.home.clone() }
    }
}

/// Shared memory, mapped here, and the file that other processes map.
#[derive(Debug)]
pub(crate) struct SharedRegion {
    pub(crate) memory: SharedMemory,
    pub(crate) file: MemoryFile,
}

/// The data that all grants on one object share.
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

/// The inbox of objects whose last grant was dropped. They are removed later: a grant may be dropped inside the store, or
/// under a lock that the removal needs.
#[derive(Debug, Default)]
pub(crate) struct Released {
    ids: Mutex<Vec<ObjectId>>,
}

impl Released {
    /// Returns whether an object waits to be removed.
    pub(crate) fn any(&self) -> bool {
        !self.ids.lock().is_empty()
    }

    /// Calls `visit` for each object that waits to be removed.
    pub(crate) fn for_each(&self, visit: impl FnMut(&ObjectId)) {
        self.ids.lock().iter().for_each(visit);
    }

    /// Empties the inbox and returns its ids.
    pub(crate) fn take(&self) -> Vec<ObjectId> {
        std::mem::take(&mut self.ids.lock())
    }
}
