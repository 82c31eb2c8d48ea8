//! The names of things: tasks, jobs and workers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One task of one pool. Numbers go up and are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub(crate) u64);

impl TaskId {
    /// The task that was made `n` after this one.
    pub(crate) fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One guest of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GuestKey(pub(crate) u32);

/// What tasks were submitted together: one `submit`, or one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct JobId(pub(crate) u64);

/// One shared memory of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct MemoryId(pub(crate) u64);

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
