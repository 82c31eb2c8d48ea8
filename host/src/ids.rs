//! The ids of a pool: those of the parent alone, and those that its workers know too.

use std::fmt;

pub(crate) use wpool_wire::ids::MemoryId;
pub use wpool_wire::ids::TaskId;

/// One guest of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GuestKey(pub(crate) u32);

/// What tasks were submitted together: one `submit`, or one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) u64);

/// One incarnation of a worker: the place in the pool, and how many there were before it.
///
/// A message to or from an earlier incarnation is refused by comparison, never delivered by luck.
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
