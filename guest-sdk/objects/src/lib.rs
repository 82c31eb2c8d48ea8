//! Queues, locks, dictionaries and the other shared objects, typed: the same for the host and for its guests.
//!
//! Every object is written over a [`Handle`], of which each side has its own. A program that embeds a pool finds these
//! types in `wpool`, a guest in `wpool_guest`; a method promises the same in both.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod aliases;
mod containers;
#[cfg(test)]
mod encoding;
mod handle;
mod locks;
mod pipe;
mod queue;
mod scope;
mod shared;
mod signals;

pub use containers::{Array, Dict, List, Namespace, Value};
pub use handle::Handle;
pub use locks::{Condition, ConditionGuard, Guard, Lock, RLock, Semaphore, SemaphoreGuard};
pub use pipe::Connection;
pub use queue::{Delivery, Queue, Receiver, Sender};
pub use scope::HandleScope;
pub use shared::{Number, SharedArray, SharedSlice};
pub use signals::{Barrier, Event};
pub use wpool_abi::object::{ObjectError, Rights, Wait};
