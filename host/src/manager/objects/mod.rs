//! The kinds of objects: their state, their answers, and when a call has to wait. `object` is any one of them.

mod attempt;
mod barrier;
mod containers;
mod locks;
mod object;
mod queue;

pub(super) use self::attempt::{Attempt, WaitState};
pub(super) use self::object::Object;
pub(crate) use self::object::ObjectInit;
