//! The part of the host's runtime that the cells need.

#[path = "../../../../host/src/runtime/cell/mod.rs"]
pub(crate) mod cell;
#[path = "../../../../host/src/runtime/completed.rs"]
pub(crate) mod completed;
