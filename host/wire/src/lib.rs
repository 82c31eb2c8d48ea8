//! The protocol between a pool and its child processes: frames, messages, limits, the control page, shared memory
//! files.
//!
//! Internal to wpool: `wpool-host` (the parent) and `wpool-worker` (the children) are the only users, and nothing here
//! is covered by the public version. There is no engine, no pool and no policy here.
//!
//! `docs/src/reference/protocol.md` describes the same in prose. A change of a frame or a message changes
//! [`PROTOCOL_VERSION`]; a parent and a child of different builds refuse each other in the handshake, so two versions
//! never meet.

pub mod codec;
pub mod control;
pub mod ids;
pub mod limits;
mod mapping;
pub mod memory;
pub mod message;
pub mod role;
pub mod trap;

/// The version of the frames and messages between a parent and its child processes.
pub const PROTOCOL_VERSION: u32 = 1;

/// Identifies this build: the package's version and a hash of the sources of this crate and of the guest ABI. Both sides
/// of a handshake compare it.
pub const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("WPOOL_SOURCE_HASH"));

/// Returns whether the other side of a handshake is this build.
#[must_use]
pub fn is_this_build(protocol: u32, build: &str) -> bool {
    (protocol, build) == (PROTOCOL_VERSION, BUILD)
}

/// The spin time: both ends of a conversation poll this long for the next message before they sleep, because a wake-up
/// costs several microseconds.
pub const SPIN_TIME: std::time::Duration = std::time::Duration::from_micros(20);
