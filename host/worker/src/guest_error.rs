//! The ways in which a guest fails a task, each an error type of its own that the engine passes through.

use wpool_wire::limits::Capability;

/// A rule of the interface that the guest has broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadGuest(pub(crate) String);

/// A request for more than a task may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LimitExceeded {
    #[error("{asked} bytes of memory")]
    Memory { asked: u64 },
    #[error("{asked} elements of a table")]
    Table { asked: u64 },
    #[error("an emitted value of {size} bytes")]
    Emitted { size: u64 },
}

/// A use of what the task's policy denies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} are denied")]
pub(crate) struct PolicyDenied(pub(crate) Capability);

/// A call of WASI's `proc_exit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest exited with code {0}")]
pub(crate) struct Exited(pub(crate) i32);

/// The parent has requested the end of a task while it was suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the end of the task was requested")]
pub(crate) struct EndRequested;
