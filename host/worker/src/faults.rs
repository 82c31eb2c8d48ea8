//! What can go wrong with a guest, each thing as an error of its own that the engine hands through.

/// A rule of the interface that the guest broke.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BadGuest(pub(super) String);

/// A request for more than a task may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("{asked} bytes of memory")]
    Memory { asked: u64 },
    #[error("{asked} elements of a table")]
    Table { asked: u64 },
    #[error("an emitted value of {size} bytes")]
    Emitted { size: u64 },
}

/// The guest called WASI's `proc_exit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the guest exited with code {0}")]
pub(super) struct Exited(pub(super) i32);

/// The parent has asked for the end of a task that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task is to end")]
pub(super) struct Ended;
