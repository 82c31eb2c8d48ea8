//! Shared objects on the host's side: their manager, their handles, and their names for JSON.

pub(super) mod handle;
pub(super) mod manager;
pub(super) mod named;
pub(super) mod select;
pub(super) mod spec;
