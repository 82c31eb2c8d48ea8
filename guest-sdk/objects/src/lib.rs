//! Queues, locks, dictionaries and the rest, typed: the same for the host and for its guests.
//!
//! Everything here is written over a [`Handle`], of which each side has its own. Who embeds a pool finds these types in
//! `wpool`, who writes a guest in `wpool_guest`; what a method promises is the same in both.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod containers;
mod handle;
mod locks;
mod luggage;
mod pipe;
mod queue;
mod shared;

pub use containers::{Array, Dict, List, Namespace, Value};
pub use handle::{Handle, HandleItem};
pub use locks::{Barrier, Condition, ConditionGuard, Event, Guard, Lock, RLock, Semaphore, SemaphoreGuard};
pub use luggage::Luggage;
pub use pipe::Connection;
pub use queue::{Delivery, Queue, Receiver, Sender};
pub use shared::{Number, SharedArray, SharedSlice};
pub use wpool_abi::object::{ObjectError, Rights, Wait};
