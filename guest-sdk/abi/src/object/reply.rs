//! [`Reply`] and [`ObjectError`]: the answer to a call.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use super::Item;

/// The reply to a call. The order of the variants is the wire form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<I = Item> {
    /// The call is done and has no value.
    Done,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// The number of values, and the capacity if there is one.
    Size(u64, Option<u64>),
    /// Values, and whether one of them was delivered before.
    Items(Vec<I>, bool),
    /// A value, if there is one.
    Found(Option<I>),
    /// Keys and values.
    Entries(Vec<(Vec<u8>, I)>),
    /// Keys.
    Keys(Vec<Vec<u8>>),
}

impl<I> Reply<I> {
    /// Returns the same reply with each item replaced by `change(item)`.
    pub fn map<J>(self, mut change: impl FnMut(I) -> J) -> Reply<J> {
        match self {
            Reply::Items(items, again) => Reply::Items(items.into_iter().map(change).collect(), again),
            Reply::Found(found) => Reply::Found(found.map(change)),
            Reply::Entries(entries) => {
                Reply::Entries(entries.into_iter().map(|(key, value)| (key, change(value))).collect())
            }
            Reply::Done => Reply::Done,
            Reply::Flag(flag) => Reply::Flag(flag),
            Reply::Number(number) => Reply::Number(number),
            Reply::Size(len, capacity) => Reply::Size(len, capacity),
            Reply::Keys(keys) => Reply::Keys(keys),
        }
    }
}

/// Why a call on a shared object failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ObjectError {
    /// There is no room, and the call was not to wait.
    Full,
    /// There is no value, and the call was not to wait.
    Empty,
    /// Another party holds it, and the call was not to wait.
    Held,
    /// The call's timeout elapsed.
    TimedOut,
    /// The object accepts no more values, or it has none left and will never have one.
    Closed,
    /// The barrier is broken.
    Broken,
    /// The caller does not hold the lock.
    NotHeld,
    /// More was released, or marked as processed, than there was.
    TooOften,
    /// There is no such key or index.
    NotFound,
    /// The handle was never granted to the task, or it is no longer valid.
    BadHandle,
    /// The handle does not have the right that the call needs.
    NoRight,
    /// An object of this kind does not accept the call.
    WrongKind,
    /// The value's type is not that of the object.
    WrongType,
    /// The value cannot be encoded or decoded: the reason.
    BadValue(String),
    /// A limit was reached: which one.
    Quota(String),
    /// Waiting would have closed a cycle of calls that wait for each other: the parties in it.
    Deadlock(String),
    /// The pool is closed or closing.
    PoolClosed,
    /// An earlier call that had no answer of its own failed: its error.
    Earlier(Box<ObjectError>),
}

impl fmt::Display for ObjectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ObjectError::Full => "it is full",
            ObjectError::Empty => "it is empty",
            ObjectError::Held => "somebody else holds it",
            ObjectError::TimedOut => "it did not happen in time",
            ObjectError::Closed => "it is closed",
            ObjectError::Broken => "the barrier is broken",
            ObjectError::NotHeld => "it is not held by who releases it or waits with it",
            ObjectError::TooOften => "more was released or worked off than there was",
            ObjectError::NotFound => "there is no such key or place",
            ObjectError::BadHandle => "the handle was not granted",
            ObjectError::NoRight => "the handle is not good for that",
            ObjectError::WrongKind => "the object does not understand that",
            ObjectError::WrongType => "the value is of another type",
            ObjectError::PoolClosed => "the pool is closed",
            ObjectError::BadValue(message) => return write!(f, "the value cannot be passed on: {message}"),
            ObjectError::Quota(what) => return write!(f, "a limit was reached: {what}"),
            ObjectError::Deadlock(who) => return write!(f, "deadlock: {who}"),
            ObjectError::Earlier(earlier) => return write!(f, "an earlier call failed: {earlier}"),
        })
    }
}

impl core::error::Error for ObjectError {}
