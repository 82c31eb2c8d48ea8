//! The one table of object calls: each call's name, payload, required rights and kinds of object.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::item::{Carries, Item, bytes, limited};
use super::{Kind, Rights};

macro_rules! calls {
    ($(
        $(#[$meta:meta])*
        $name:ident
        $(($($(#[$tuple_meta:meta])* $tuple:ident: $tuple_type:ty $(as $tuple_part:ident)?),+))?
        $({$($(#[$field_meta:meta])* $field:ident: $field_type:ty $(as $field_part:ident)?),+ $(,)?})?
        : $rights:ident, [$($kind:ident),+];
    )*) => {
        /// A call on an object. The kind of the object decides which calls it accepts, and the rights of the handle
        /// decide which of them a party may make. The order of the variants and of their fields is the wire form.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Call<I = Item> {
            $(
                $(#[$meta])*
                #[doc = concat!("\n\nNeeds [`", stringify!($rights), "`](Rights::", stringify!($rights), ").")]
                #[doc = "Accepted by:"]
                $(#[doc = concat!("[`", stringify!($kind), "`](Kind::", stringify!($kind), ")")])+
                $name
                $(($($(#[$tuple_meta])* $tuple_type),+))?
                $({$($(#[$field_meta])* $field: $field_type),+})?,
            )*
        }

        /// The name of a call, without its payload. It is the first byte of a [`Call`] in postcard.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "each is the call of the same name")]
        pub enum Verb {
            $($name,)*
        }

        impl Verb {
            /// Returns the rights that a handle needs for the call.
            #[must_use]
            pub fn needs(self) -> Rights {
                match self {
                    $(Verb::$name => Rights::$rights,)*
                }
            }

            /// Returns whether an object of this kind accepts the call.
            #[must_use]
            pub fn suits(self, kind: Kind) -> bool {
                match self {
                    $(Verb::$name => matches!(kind, $(Kind::$kind)|+),)*
                }
            }
        }

        impl<I> Call<I> {
            /// Returns the call's name.
            #[must_use]
            pub fn verb(&self) -> Verb {
                match self {
                    $(Call::$name { .. } => Verb::$name,)*
                }
            }

            /// Returns the same call with each item replaced by `change(item)`.
            ///
            /// # Errors
            /// The first error of `change`.
            pub fn try_map<J, E>(self, mut change: impl FnMut(I) -> Result<J, E>) -> Result<Call<J>, E> {
                Ok(match self {
                    $(
                        Call::$name $(($($tuple),+))? $({$($field),+})? => Call::$name
                            $(($(map_part!(change, $tuple $(as $tuple_part)?)),+))?
                            $({$($field: map_part!(change, $field $(as $field_part)?)),+})?,
                    )*
                })
            }
        }
    };
}

/// One part of a payload under `change`: the table marks with `as item` and `as items` the parts that hold items.
macro_rules! map_part {
    ($change:ident, $part:ident) => {
        $part
    };
    ($change:ident, $part:ident as item) => {
        $change($part)?
    };
    ($change:ident, $part:ident as items) => {
        $part.into_iter().map(&mut $change).collect::<Result<_, E>>()?
    };
}

calls! {
    /// Puts the values in, at most [`MAX_ITEMS`](super::MAX_ITEMS), in their order; waits while there is no room.
    #[serde(bound(deserialize = "I: Deserialize<'de> + Carries"))]
    Put(#[serde(deserialize_with = "limited::items")] values: Vec<I> as items): WRITE, [Queue, Pipe];
    /// Takes at least one value and at most this number; waits for the first. Zero counts as one.
    Get(most: u32): READ, [Queue, Pipe];
    /// Waits until there is a value to take, or the object is closed.
    Poll: READ, [Queue, Pipe];
    /// Marks this number of taken values as processed.
    TaskDone(count: u32): READ, [Queue];
    /// Waits until every value that was put is marked as processed.
    Join: READ, [Queue];
    /// Closes the object: from now on it accepts no more values.
    Close: WRITE, [Queue, Pipe];
    /// Returns the number of values and the capacity. A semaphore returns its free permits and its bound, a barrier the
    /// number of waiting parties and the number that it releases together.
    Size: READ, [Queue, Pipe, Semaphore, Barrier, Dict, Namespace, List, Array, Value];
    /// Acquires the lock or one permit; waits until that is possible.
    Acquire: ALL, [Lock, RLock, Semaphore, Condition];
    /// Releases the lock, or permits, this number of times.
    Release(count: u32): ALL, [Lock, RLock, Semaphore, Condition];
    /// Returns whether the lock is held, the event is set, or the barrier is broken.
    State: READ, [Lock, RLock, Condition, Event, Barrier];
    /// Clears the mark that a failed holder left: what the lock guards is consistent again.
    ClearPoison: ALL, [Lock, RLock, Condition];
    /// Gives up one acquired permit without releasing it: another party will release it.
    Disown: ALL, [Semaphore];
    /// Waits for a notification, for the flag, or for the other parties.
    Wait: READ, [Condition, Event, Barrier];
    /// Wakes at most this number of waiting parties.
    Notify(most: u32): WRITE, [Condition];
    /// Sets the flag, or clears it.
    Flag(set: bool): WRITE, [Event];
    /// Breaks the barrier.
    Abort: WRITE, [Barrier];
    /// Makes the barrier as new; parties that wait fail.
    Reset: WRITE, [Barrier];
    /// Returns the value of a key.
    Look(#[serde(with = "bytes")] key: Vec<u8>): READ, [Dict, Namespace];
    /// Sets the value of a key, and returns the value that it had.
    Insert {
        /// The key.
        #[serde(with = "bytes")]
        key: Vec<u8>,
        /// Its new value.
        value: I as item,
        /// Whether a value that the key already has is replaced.
        replace: bool,
    }: WRITE, [Dict, Namespace];
    /// Removes a key, and returns the value that it had.
    Remove(#[serde(with = "bytes")] key: Vec<u8>): ALL, [Dict, Namespace];
    /// Returns all values, with their keys if they have keys.
    All: READ, [Dict, Namespace, List, Array, Value];
    /// Returns all keys.
    Keys: READ, [Dict, Namespace];
    /// Removes all values.
    Clear: WRITE, [Dict, Namespace, List];
    /// Returns the value at an index. A negative index counts from the end.
    At(at: i64): READ, [List, Array, Value];
    /// Replaces the value at an index, and returns the value that was there.
    SetAt(at: i64, value: I as item): ALL, [List, Array, Value];
    /// Replaces the value at an index if its bytes are the expected ones, and returns the value that was there; nothing
    /// if they are not.
    Swap {
        /// The index.
        at: i64,
        /// The bytes that the present value must have.
        #[serde(with = "bytes")]
        expected: Vec<u8>,
        /// The new value.
        value: I as item,
    }: ALL, [List, Array, Value];
    /// Appends the values, at most [`MAX_ITEMS`](super::MAX_ITEMS).
    #[serde(bound(deserialize = "I: Deserialize<'de> + Carries"))]
    Extend(#[serde(deserialize_with = "limited::items")] values: Vec<I> as items): WRITE, [List];
    /// Inserts a value before an index. An index beyond either end means that end.
    InsertAt(at: i64, value: I as item): WRITE, [List];
    /// Removes the value at an index, and returns it.
    RemoveAt(at: i64): ALL, [List];
    /// Returns whether a key has a value.
    Has(#[serde(with = "bytes")] key: Vec<u8>): READ, [Dict, Namespace];
    /// Removes the last key in the order of keys, and returns it with its value; an entry less if there is none.
    PopLast: ALL, [Dict];
    /// Returns the values from one index up to another. Negative indices count from the end, and those beyond either
    /// end mean that end.
    Slice {
        /// The index of the first value.
        from: i64,
        /// The index after the last value.
        to: i64,
    }: READ, [List, Array];
    /// Replaces the values from one index up to another, as those of [`Slice`](Call::Slice), by others.
    #[serde(bound(deserialize = "I: Deserialize<'de> + Carries"))]
    Splice {
        /// The index of the first value.
        from: i64,
        /// The index after the last value.
        to: i64,
        /// The new values, at most [`MAX_ITEMS`](super::MAX_ITEMS).
        #[serde(deserialize_with = "limited::items")]
        values: Vec<I> as items,
    }: ALL, [List];
    /// Returns the index of the first value with these bytes from an index on.
    Find {
        /// The bytes of the value.
        #[serde(with = "bytes")]
        value: Vec<u8>,
        /// The index to begin at.
        from: i64,
    }: READ, [List, Array];
    /// Returns the number of values with these bytes.
    Count(#[serde(with = "bytes")] value: Vec<u8>): READ, [List, Array];
    /// Returns a number that is another one after each change of the order or of a value.
    Revision: READ, [List, Array];
    /// Puts the values into another order, if the revision is the one that is given. Returns whether it was.
    Reorder {
        /// The revision of the order that the indices belong to.
        revision: u64,
        /// For each place the index of the value that goes there: each index once.
        order: Vec<u32>,
    }: ALL, [List, Array];
}
