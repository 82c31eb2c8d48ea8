//! Shared objects as the host's program uses them.

pub(super) mod handle;
pub(super) mod manager;
pub(super) mod named;
pub(super) mod select;
