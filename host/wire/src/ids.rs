//! The ids that a pool and its workers exchange.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of a task, unique within its pool. Ids grow in the order of submission and are never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(#[doc(hidden)] pub u64);

impl TaskId {
    /// Returns the id of the `n`th task after this one.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    pub fn plus(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The id of a shared memory, unique within its pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MemoryId(pub u64);
