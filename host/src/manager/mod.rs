//! Shared objects: queues, locks, dictionaries and the rest, which live in the parent and are reached by handles.
//!
//! `grant` says who may use an object, `objects` what each kind does, and `store` is all of them with their waiters, pure.

mod grant;
mod objects;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use self::grant::{Answer, Grant, ObjectId, Owner, Released, SharedRegion, Stored, Ticket};
pub(crate) use self::objects::ObjectInit;
pub(crate) use self::store::{Called, Store};
