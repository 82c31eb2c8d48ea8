//! Shared objects: queues, locks, dictionaries and the rest, which live in the parent and are reached by handles.
//!
//! `grant` says who may use an object, `objects` how each kind answers a call, `waiting` keeps the calls that wait at one
//! object, and `store` holds all objects of one manager. All but `grant` are pure: no clock, thread, lock or socket.

mod grant;
mod objects;
mod store;
#[cfg(test)]
mod tests;
mod waiting;

pub(crate) use self::grant::{Answer, Grant, ObjectId, Owner, Released, SharedRegion, Stored, Ticket};
pub(crate) use self::objects::ObjectInit;
pub(crate) use self::store::{Called, Reach, Store};
