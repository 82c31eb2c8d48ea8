//! The ids of a pool: those of the parent alone, and those that it shares with its workers.

use std::fmt;

pub use wpool_wire::ids::TaskId;
pub(crate) use wpool_wire::ids::{MemoryId, Place};

/// The id of a guest within its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GuestKey(pub(crate) u32);

/// The id of a job: the task of one `submit`, the tasks of one map, or a sub-task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) u64);

/// The id of a worker: the index of its slot in the pool, and a generation, which grows with each worker in that slot.
///
/// A message to or from an earlier worker of the same slot is recognized by its generation and refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId {
    pub(crate) slot: u16,
    pub(crate) generation: u32,
}

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}
