//! One attempt to answer a call, and the state that a waiting call keeps from one attempt to the next.

use wpool_abi::object::{ObjectError, Reply};

use crate::manager::grant::{Answer, Stored};

/// The result of an attempt.
#[derive(Debug, PartialEq)]
pub(in crate::manager) enum Attempt {
    Done(Answer),
    /// The call can never succeed.
    Never(ObjectError),
    /// The call cannot succeed yet. A caller that does not wait gets the error.
    Wait(ObjectError),
}

impl Attempt {
    pub(super) fn reply(reply: Reply<Stored>) -> Self {
        Attempt::Done(Ok(reply))
    }

    pub(super) fn flag(flag: bool) -> Self {
        Self::reply(Reply::Flag(flag))
    }
}

/// The state of a waiting call that only its object understands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::manager) struct WaitState {
    /// The id under which the object knows the call; `None` before its first attempt.
    pub(super) id: Option<u64>,
    /// The values of a `put` that have found room.
    pub(super) put: usize,
    /// The call has timed out and waits only to get its lock back.
    pub(super) timed_out: bool,
}
