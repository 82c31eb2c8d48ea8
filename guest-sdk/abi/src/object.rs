//! Shared objects: what can be asked of them, and what they answer.
//!
//! A call is a plain message. Whoever holds a handle sends it: a guest through its worker, the host directly. `I` is
//! an item: bytes, and the handles that travel beside them.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

/// What an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// Values in the order in which they were put.
    Queue,
    /// One end of a pipe.
    Pipe,
    /// Held by one at a time.
    Lock,
    /// Held by one at a time, several times over.
    RLock,
    /// Held by so many at a time.
    Semaphore,
    /// A lock, and waiting for news.
    Condition,
    /// Set or not.
    Event,
    /// Passed by so many together.
    Barrier,
    /// Values by keys.
    Dict,
    /// Values of several types by names.
    Namespace,
    /// Values by their places; it grows and shrinks.
    List,
    /// Values by their places; it has a fixed length.
    Array,
    /// One value.
    Value,
    /// Plain numbers in memory that all who have it map.
    SharedArray,
}

impl Kind {
    /// A short name in snake case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Queue => "queue",
            Kind::Pipe => "pipe",
            Kind::Lock => "lock",
            Kind::RLock => "rlock",
            Kind::Semaphore => "semaphore",
            Kind::Condition => "condition",
            Kind::Event => "event",
            Kind::Barrier => "barrier",
            Kind::Dict => "dict",
            Kind::Namespace => "namespace",
            Kind::List => "list",
            Kind::Array => "array",
            Kind::Value => "value",
            Kind::SharedArray => "shared_array",
        }
    }
}

/// What a handle is good for: a set of [`READ`](Rights::READ) and [`WRITE`](Rights::WRITE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rights(pub u8);

impl Rights {
    /// To get, to look, to wait.
    pub const READ: Rights = Rights(1);
    /// To put, to change.
    pub const WRITE: Rights = Rights(2);
    /// Both.
    pub const ALL: Rights = Rights(3);

    /// Whether these contain those.
    #[must_use]
    pub fn contain(self, others: Rights) -> bool {
        self.0 & others.0 == others.0
    }

    /// What both have.
    #[must_use]
    pub fn and(self, others: Rights) -> Rights {
        Rights(self.0 & others.0)
    }
}

/// Where a handle's number says which rights are not passed on with it.
const LESS: u32 = 30;

/// The number of a handle that travels, of which only these rights are passed on.
#[must_use]
pub fn with_rights(number: u32, rights: Rights) -> u32 {
    let less = !rights.0 & Rights::ALL.0;
    number | u32::from(less) << LESS
}

/// The number of a handle that travels without that, and the rights.
#[must_use]
pub fn without_rights(number: u32) -> (u32, Rights) {
    let less = (number >> LESS) as u8;
    (number & ((1 << LESS) - 1), Rights(!less & Rights::ALL.0))
}

/// How long a call may wait. On the wire a timeout is a number of nanoseconds; the parent turns it into a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wait<T = u64> {
    /// Not at all: a call that would have to wait fails.
    NonBlocking,
    /// At most for that time, or until that deadline.
    Timeout(T),
    /// Without end.
    Forever,
}

/// A value: its bytes in postcard, and the handles in it, which the bytes name by their places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item<H = u32> {
    /// The value.
    #[serde(with = "bytes")]
    pub bytes: Vec<u8>,
    /// The handles, at most [`MAX_HANDLES`].
    #[serde(deserialize_with = "few::handles", bound(deserialize = "H: Deserialize<'de>"))]
    pub handles: Vec<H>,
}

/// What handles may travel with.
pub trait Carries {
    /// How many do.
    fn count(&self) -> usize;
}

impl<H> Carries for Item<H> {
    fn count(&self) -> usize {
        self.handles.len()
    }
}

/// The most handles that travel with one call.
pub const MAX_HANDLES: usize = 10_000;
/// The most values in one call.
pub const MAX_ITEMS: usize = 100_000;

impl<H> Default for Item<H> {
    fn default() -> Self {
        Self { bytes: Vec::new(), handles: Vec::new() }
    }
}

/// What is asked of an object. Which calls an object understands depends on its kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Call<I = Item> {
    /// Queue, pipe: puts values in, at most [`MAX_ITEMS`], one after the other, and waits for room.
    #[serde(bound(deserialize = "I: Deserialize<'de> + Carries"))]
    Put(#[serde(deserialize_with = "few::items")] Vec<I>),
    /// Queue, pipe: takes at least one value, at most so many, and waits for the first.
    Get(u32),
    /// Pipe, queue: waits until there is something to get.
    Poll,
    /// Queue: so many values that were taken have been worked off.
    TaskDone(u32),
    /// Queue: waits until all values that were put have been worked off.
    Join,
    /// Queue, pipe: takes no more values.
    Close,
    /// How many values there are, and how many fit.
    Size,
    /// Lock, semaphore, condition: waits until it can be held.
    Acquire,
    /// Lock, semaphore, condition: so many times, it is held no more.
    Release(u32),
    /// Lock, condition: whether somebody holds it. Event: whether it is set. Barrier: whether it is broken.
    State,
    /// Lock: whoever left it in disorder has been tidied up after.
    ClearPoison,
    /// Semaphore: what was acquired once is for somebody else to release.
    Disown,
    /// Condition, event, barrier: waits for news, for the flag, for the others.
    Wait,
    /// Condition: wakes so many who wait.
    Notify(u32),
    /// Event: sets the flag, or clears it.
    Flag(bool),
    /// Barrier: breaks it.
    Abort,
    /// Barrier: as new.
    Reset,
    /// Dict: the value of a key.
    Look(#[serde(with = "bytes")] Vec<u8>),
    /// Dict: gives a key a value, if it has none or whatever it has.
    Insert {
        /// The key.
        #[serde(with = "bytes")]
        key: Vec<u8>,
        /// Its value.
        value: I,
        /// Whether a value that it has is replaced.
        replace: bool,
    },
    /// Dict: takes a key out.
    Remove(#[serde(with = "bytes")] Vec<u8>),
    /// Dict, list, array: everything.
    All,
    /// Dict: all keys.
    Keys,
    /// Dict, list: takes everything out.
    Clear,
    /// List, array, value: what is at a place; from the end if it is negative.
    At(i64),
    /// List, array, value: puts something in a place, and tells what was there.
    SetAt(i64, I),
    /// Value, array: puts something in a place if that holds these bytes; tells what was there.
    Swap {
        /// The place.
        at: i64,
        /// What it must hold.
        #[serde(with = "bytes")]
        expected: Vec<u8>,
        /// What it holds then.
        value: I,
    },
    /// List: appends values, at most [`MAX_ITEMS`].
    #[serde(bound(deserialize = "I: Deserialize<'de> + Carries"))]
    Extend(#[serde(deserialize_with = "few::items")] Vec<I>),
    /// List: puts something before a place.
    InsertAt(i64, I),
    /// List: takes out what is at a place.
    RemoveAt(i64),
}

/// What a call asks for, without what goes with it. It is the first byte of a [`Call`] in postcard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the call of the same name")]
pub enum Verb {
    Put,
    Get,
    Poll,
    TaskDone,
    Join,
    Close,
    Size,
    Acquire,
    Release,
    State,
    ClearPoison,
    Disown,
    Wait,
    Notify,
    Flag,
    Abort,
    Reset,
    Look,
    Insert,
    Remove,
    All,
    Keys,
    Clear,
    At,
    SetAt,
    Swap,
    Extend,
    InsertAt,
    RemoveAt,
}

impl Verb {
    /// What a handle must be good for.
    #[must_use]
    pub fn needs(self) -> Rights {
        match self {
            Verb::Get
            | Verb::Poll
            | Verb::TaskDone
            | Verb::Join
            | Verb::Size
            | Verb::State
            | Verb::Wait
            | Verb::Look
            | Verb::All
            | Verb::Keys
            | Verb::At => Rights::READ,
            Verb::Put
            | Verb::Close
            | Verb::Notify
            | Verb::Flag
            | Verb::Abort
            | Verb::Reset
            | Verb::Insert
            | Verb::Clear
            | Verb::Extend
            | Verb::InsertAt => Rights::WRITE,
            Verb::Acquire
            | Verb::Release
            | Verb::ClearPoison
            | Verb::Disown
            | Verb::Remove
            | Verb::RemoveAt
            | Verb::SetAt
            | Verb::Swap => Rights::ALL,
        }
    }

    /// Whether an object of that kind understands it.
    #[must_use]
    pub fn suits(self, kind: Kind) -> bool {
        use Verb::{
            Abort, Acquire, All, At, Clear, ClearPoison, Close, Disown, Extend, Flag, Get, Insert, InsertAt,
            Join, Keys, Look, Notify, Poll, Put, Release, Remove, RemoveAt, Reset, SetAt, Size, State, Swap,
            TaskDone, Wait,
        };
        match kind {
            Kind::Queue => matches!(self, Put | Get | Poll | TaskDone | Join | Close | Size),
            Kind::Pipe => matches!(self, Put | Get | Poll | Close | Size),
            Kind::Lock | Kind::RLock => matches!(self, Acquire | Release | State | ClearPoison),
            Kind::Semaphore => matches!(self, Acquire | Release | Disown | Size),
            Kind::Condition => matches!(self, Acquire | Release | State | ClearPoison | Wait | Notify),
            Kind::Event => matches!(self, Wait | Flag | State),
            Kind::Barrier => matches!(self, Wait | Abort | Reset | State | Size),
            Kind::Dict | Kind::Namespace => {
                matches!(self, Look | Insert | Remove | All | Keys | Clear | Size)
            }
            Kind::List => {
                matches!(self, At | SetAt | Swap | Extend | InsertAt | RemoveAt | All | Clear | Size)
            }
            Kind::Array | Kind::Value => matches!(self, At | SetAt | Swap | All | Size),
            Kind::SharedArray => false,
        }
    }
}

/// The numbers that a shared array can be made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is the type of the same name")]
pub enum Number {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Number {
    /// How many bytes one has: 1, 2, 4 or 8.
    #[must_use]
    pub fn width(self) -> usize {
        match self {
            Number::U8 | Number::I8 => 1,
            Number::U16 | Number::I16 => 2,
            Number::U32 | Number::I32 | Number::F32 => 4,
            Number::U64 | Number::I64 | Number::F64 => 8,
        }
    }

    /// The sum of two, each in the lowest bits. Integers wrap around.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "the lowest bits are what counts")]
    pub fn add(self, a: u64, b: u64) -> u64 {
        match self {
            Number::F32 => (f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits().into(),
            Number::F64 => (f64::from_bits(a) + f64::from_bits(b)).to_bits(),
            _ => a.wrapping_add(b),
        }
    }
}

/// What a host says of what was asked of a shared array: zero if it is done, else one of these.
pub mod shared {
    use super::ObjectError;

    const ERRORS: [ObjectError; 5] = [
        ObjectError::BadHandle,
        ObjectError::NoRight,
        ObjectError::WrongKind,
        ObjectError::WrongType,
        ObjectError::NotFound,
    ];

    /// The number of an answer.
    #[must_use]
    pub fn status(answer: &Result<(), ObjectError>) -> u32 {
        let Err(error) = answer else { return 0 };
        // What has no number of its own is a handle that is good for nothing.
        (1..).zip(&ERRORS).find(|(_, known)| *known == error).map_or(1, |(number, _)| number)
    }

    /// The answer of a number.
    ///
    /// # Errors
    /// What the number stands for; an unknown one is [`ObjectError::BadHandle`].
    pub fn answer(status: u32) -> Result<(), ObjectError> {
        match status.checked_sub(1) {
            None => Ok(()),
            Some(place) => Err(ERRORS.get(place as usize).cloned().unwrap_or(ObjectError::BadHandle)),
        }
    }
}

impl<I> Call<I> {
    /// What it asks for.
    #[must_use]
    pub fn verb(&self) -> Verb {
        match self {
            Call::Put(_) => Verb::Put,
            Call::Get(_) => Verb::Get,
            Call::Poll => Verb::Poll,
            Call::TaskDone(_) => Verb::TaskDone,
            Call::Join => Verb::Join,
            Call::Close => Verb::Close,
            Call::Size => Verb::Size,
            Call::Acquire => Verb::Acquire,
            Call::Release(_) => Verb::Release,
            Call::State => Verb::State,
            Call::ClearPoison => Verb::ClearPoison,
            Call::Disown => Verb::Disown,
            Call::Wait => Verb::Wait,
            Call::Notify(_) => Verb::Notify,
            Call::Flag(_) => Verb::Flag,
            Call::Abort => Verb::Abort,
            Call::Reset => Verb::Reset,
            Call::Look(_) => Verb::Look,
            Call::Insert { .. } => Verb::Insert,
            Call::Remove(_) => Verb::Remove,
            Call::All => Verb::All,
            Call::Keys => Verb::Keys,
            Call::Clear => Verb::Clear,
            Call::At(_) => Verb::At,
            Call::SetAt(..) => Verb::SetAt,
            Call::Swap { .. } => Verb::Swap,
            Call::Extend(_) => Verb::Extend,
            Call::InsertAt(..) => Verb::InsertAt,
            Call::RemoveAt(_) => Verb::RemoveAt,
        }
    }

    /// The same call with other items, or the first reason why there is none.
    ///
    /// # Errors
    /// Whatever `change` says.
    pub fn try_map<J, E>(self, mut change: impl FnMut(I) -> Result<J, E>) -> Result<Call<J>, E> {
        Ok(match self {
            Call::Put(items) => Call::Put(items.into_iter().map(change).collect::<Result<_, E>>()?),
            Call::Extend(items) => Call::Extend(items.into_iter().map(change).collect::<Result<_, E>>()?),
            Call::Insert { key, value, replace } => Call::Insert { key, value: change(value)?, replace },
            Call::SetAt(at, value) => Call::SetAt(at, change(value)?),
            Call::Swap { at, expected, value } => Call::Swap { at, expected, value: change(value)? },
            Call::InsertAt(at, value) => Call::InsertAt(at, change(value)?),
            Call::Get(most) => Call::Get(most),
            Call::Poll => Call::Poll,
            Call::TaskDone(count) => Call::TaskDone(count),
            Call::Join => Call::Join,
            Call::Close => Call::Close,
            Call::Size => Call::Size,
            Call::Acquire => Call::Acquire,
            Call::Release(count) => Call::Release(count),
            Call::State => Call::State,
            Call::ClearPoison => Call::ClearPoison,
            Call::Disown => Call::Disown,
            Call::Wait => Call::Wait,
            Call::Notify(most) => Call::Notify(most),
            Call::Flag(set) => Call::Flag(set),
            Call::Abort => Call::Abort,
            Call::Reset => Call::Reset,
            Call::Look(key) => Call::Look(key),
            Call::Remove(key) => Call::Remove(key),
            Call::All => Call::All,
            Call::Keys => Call::Keys,
            Call::Clear => Call::Clear,
            Call::At(at) => Call::At(at),
            Call::RemoveAt(at) => Call::RemoveAt(at),
        })
    }
}

/// What an object answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<I = Item> {
    /// It is done.
    Done,
    /// Yes or no.
    Flag(bool),
    /// A number.
    Number(u64),
    /// How many values there are, and how many fit.
    Size(u64, Option<u64>),
    /// Values; whether they were delivered before.
    Items(Vec<I>, bool),
    /// A value, if there is one.
    Found(Option<I>),
    /// Keys and values.
    Entries(Vec<(Vec<u8>, I)>),
    /// Keys.
    Keys(Vec<Vec<u8>>),
}

impl<I> Reply<I> {
    /// The same reply with other items.
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

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ObjectError {
    /// There is no room, and the call was not to wait.
    Full,
    /// There is nothing, and the call was not to wait.
    Empty,
    /// It is held by somebody else, and the call was not to wait.
    Held,
    /// What the call waited for did not come in time.
    TimedOut,
    /// The object takes no more values, or has no more and never will.
    Closed,
    /// The barrier is broken.
    Broken,
    /// Whoever calls does not hold it.
    NotHeld,
    /// More was released, or worked off, than there was.
    TooOften,
    /// There is no such key or place.
    NotFound,
    /// The handle was never granted, or is not any more.
    BadHandle,
    /// The handle is not good for that.
    NoRight,
    /// The object does not understand that.
    WrongKind,
    /// The value is of another type than the object's.
    WrongType,
    /// The value cannot be written or read.
    BadValue(String),
    /// A limit was reached: which one.
    Quota(String),
    /// The call would have closed a ring of calls that wait for each other: who is in it.
    Deadlock(String),
    /// The pool is gone, or is going.
    PoolClosed,
    /// An earlier call without an answer has failed: why.
    Earlier(alloc::boxed::Box<ObjectError>),
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

/// Lists that have an end: an element takes more memory than the byte that may stand for it.
mod few {
    use alloc::vec::Vec;
    use core::fmt;
    use core::marker::PhantomData;

    use serde::de::{Error as _, SeqAccess, Visitor};
    use serde::{Deserialize, Deserializer};

    use super::{Carries, MAX_HANDLES, MAX_ITEMS};

    pub(super) fn items<'de, T: Deserialize<'de> + Carries, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(Few { most: MAX_ITEMS, weigh: T::count, parts: PhantomData })
    }

    pub(super) fn handles<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<T>, D::Error> {
        deserializer.deserialize_seq(Few { most: MAX_HANDLES, weigh: |_: &T| 1, parts: PhantomData })
    }

    struct Few<T, W> {
        most: usize,
        /// How many handles there are in a part.
        weigh: W,
        parts: PhantomData<T>,
    }

    impl<'de, T: Deserialize<'de>, W: Fn(&T) -> usize> Visitor<'de> for Few<T, W> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {} elements with {MAX_HANDLES} handles", self.most)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Vec<T>, A::Error> {
            let (mut all, mut handles) = (Vec::new(), 0);
            while let Some(part) = parts.next_element()? {
                handles += (self.weigh)(&part);
                if all.len() == self.most || handles > MAX_HANDLES {
                    return Err(A::Error::custom("too many elements, or handles in them"));
                }
                all.push(part);
            }
            Ok(all)
        }
    }
}

/// Bytes as bytes, not one by one.
mod bytes {
    use alloc::vec::Vec;
    use core::fmt;

    use serde::de::{SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Vec<u8>, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = parts.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes)
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
