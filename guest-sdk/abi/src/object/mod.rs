//! Shared objects: the calls that a party makes on them, and the replies.
//!
//! A [`Call`] is a plain message. A guest sends it through its worker, the host makes it directly. The type parameter
//! `I` is the type of an item: a value's bytes and the handles beside them.

mod call;
mod item;
mod kind;
mod number;
mod reply;
mod rights;
pub mod shared;

pub use self::call::{Call, Verb};
pub use self::item::{Carries, Item, MAX_HANDLES, MAX_ITEMS};
pub use self::kind::Kind;
pub use self::number::Number;
pub use self::reply::{ObjectError, Reply};
pub use self::rights::{Rights, with_rights, without_rights};

use serde::{Deserialize, Serialize};

/// The most bytes of a call without an answer: 64 KiB.
pub const MAX_POST_SIZE: usize = 64 << 10;

/// How long a call may wait. On the wire a timeout is a number of nanoseconds; the parent turns it into a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait<T = u64> {
    /// Fail at once instead of waiting.
    NonBlocking,
    /// Wait for at most this time, or until this deadline.
    Timeout(T),
    /// Wait without a limit.
    Forever,
}
