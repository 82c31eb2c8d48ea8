//! What the parent and its child processes agree on: frames, messages, the control page and shared memory.
//!
//! `docs/protocol.md` is the same in prose. A change here changes [`PROTOCOL_VERSION`]; a parent and a
//! child of different builds refuse each other in the handshake, so no two versions ever meet.

pub(crate) mod codec;
pub(crate) mod control;
pub(crate) mod memory;
pub(crate) mod message;
pub(crate) mod outcome;

/// The version of the frames and messages between a parent and its child processes.
pub(crate) const PROTOCOL_VERSION: u32 = 1;

/// Names this build: the package's version and a hash of its source. Both sides of a handshake compare it.
pub(crate) const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("WPOOL_SOURCE_HASH"));

/// For so long both ends of a conversation look for what comes next before they sleep: to be woken takes about half
/// of it.
pub(crate) const MOMENT: std::time::Duration = std::time::Duration::from_micros(20);
