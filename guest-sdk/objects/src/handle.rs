//! What an object is reached by, and what values are made of that travel through it.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use crate::Luggage;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};

/// A value on its way: its bytes, and the handles in it.
pub type HandleItem<H> = Item<H>;

/// The way to an object. The host has one, and so has a guest.
pub trait Handle: Clone + fmt::Debug + Sized {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Why there is none.
    fn call(&self, call: Call<Item<Self>>, wait: Wait) -> Result<Reply<Item<Self>>, ObjectError>;

    /// Asks for something that needs no answer. An error may come with the next answer only.
    ///
    /// # Errors
    /// What is known to be wrong at once.
    fn post(&self, call: Call<Item<Self>>) -> Result<(), ObjectError>;

    /// Asks, for an `.await`.
    fn call_async(
        &self,
        call: Call<Item<Self>>,
        wait: Wait,
    ) -> impl Future<Output = Result<Reply<Item<Self>>, ObjectError>>;

    /// How many bytes a shared array has.
    ///
    /// # Errors
    /// If it is none.
    fn shared_size(&self) -> Result<u64, ObjectError>;

    /// Copies from a shared array, from that byte on.
    ///
    /// # Errors
    /// If it is none, or has not so many bytes, or they are no whole elements.
    fn shared_read(&self, at: u64, into: &mut [u8]) -> Result<(), ObjectError>;

    /// Copies to a shared array.
    ///
    /// # Errors
    /// As [`shared_read`](Self::shared_read), or if the handle is to read only.
    fn shared_write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError>;

    /// Adds to an element of a shared array, in one step, and tells what it was.
    ///
    /// # Errors
    /// As [`shared_write`](Self::shared_write).
    fn shared_add(&self, at: u64, number: u64) -> Result<u64, ObjectError>;

    /// The time since some moment; none where there is no clock.
    fn now() -> Option<Duration>;

    /// The same handle, which is always used as whoever calls now: what is held goes with it to another thread.
    #[must_use]
    fn bound(&self) -> Self;

    /// The same handle, used as somebody of its own.
    #[must_use]
    fn detached(&self) -> Self;

    /// The same object with no more rights than these.
    #[must_use]
    fn narrowed(&self, rights: Rights) -> Self;

    /// Does something with what this thread has on its way.
    fn luggage<T>(act: impl FnOnce(&Luggage<Self>) -> T) -> T;

    /// Puts the handle among those that travel with what is being written, and tells its place there.
    ///
    /// # Errors
    /// If nothing is being written that could carry it.
    fn send(&self) -> Result<u32, String> {
        Self::luggage(|luggage| luggage.send(self))
    }

    /// The handle at a place among those that came with what is being read.
    ///
    /// # Errors
    /// If there is none.
    fn receive(place: u32) -> Result<Self, String> {
        Self::luggage(|luggage| luggage.receive(place))
    }

    /// Does something, and gathers the handles that it sends.
    fn sending<T>(act: impl FnOnce() -> T) -> (T, Vec<Self>) {
        let before = Self::luggage(Luggage::begin_sending);
        let value = act();
        (value, Self::luggage(|luggage| luggage.end_sending(before)))
    }

    /// Does something that receives these handles.
    fn receiving<T>(handles: Vec<Self>, act: impl FnOnce() -> T) -> T {
        let before = Self::luggage(|luggage| luggage.unpack(handles));
        let value = act();
        // Whatever dropping a handle does, it finds the luggage as it was.
        drop(Self::luggage(|luggage| luggage.unpack(before)));
        value
    }
}

/// Writes a value, with the handles in it.
pub(crate) fn pack<H: Handle>(value: &(impl Serialize + ?Sized)) -> Result<Item<H>, ObjectError> {
    let (bytes, handles) = H::sending(|| postcard::to_allocvec(value));
    let bytes = bytes.map_err(|error| ObjectError::BadValue(error.to_string()))?;
    Ok(Item { bytes, handles })
}

/// Reads a value, with the handles in it.
pub(crate) fn unpack<T: DeserializeOwned, H: Handle>(item: Item<H>) -> Result<T, ObjectError> {
    let Item { bytes, handles } = item;
    H::receiving(handles, || from_bytes(&bytes))
}

/// A key, which carries no handles.
pub(crate) fn key(key: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, ObjectError> {
    postcard::to_allocvec(key).map_err(|error| ObjectError::BadValue(error.to_string()))
}

pub(crate) fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ObjectError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(ObjectError::BadValue(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(ObjectError::BadValue(error.to_string())),
    }
}

/// A reply of a kind that its call does not have.
pub(crate) fn unexpected<T>() -> Result<T, ObjectError> {
    Err(ObjectError::BadValue("the answer is to another question".to_owned()))
}

pub(crate) fn wait(time: Duration) -> Wait {
    Wait::Timeout(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The typed objects of one side, over its handle.
#[macro_export]
#[doc(hidden)]
macro_rules! aliases {
    ($handle:ty) => {
        /// A queue of values of type `T`.
        pub type Queue<T> = $crate::Queue<T, $handle>;
        /// A queue whose values are worked off: every [`Queue`] is one.
        pub type JoinableQueue<T> = Queue<T>;
        /// A queue without an end.
        pub type SimpleQueue<T> = Queue<T>;
        /// The end of a queue that values are put in.
        pub type Sender<T> = $crate::Sender<T, $handle>;
        /// The end of a queue that values are taken from.
        pub type Receiver<T> = $crate::Receiver<T, $handle>;
        /// One end of a pipe.
        pub type Connection<T> = $crate::Connection<T, $handle>;
        /// Held by one at a time.
        pub type Lock = $crate::Lock<$handle>;
        /// Held by one at a time, several times over.
        pub type RLock = $crate::RLock<$handle>;
        /// A lock that is held.
        pub type LockGuard = $crate::Guard<$handle>;
        /// Held by so many at a time.
        pub type Semaphore = $crate::Semaphore<$handle>;
        /// A semaphore that is never released more often than it was acquired.
        pub type BoundedSemaphore = Semaphore;
        /// A lock, and waiting for news.
        pub type Condition = $crate::Condition<$handle>;
        /// A flag that can be waited for.
        pub type Event = $crate::Event<$handle>;
        /// Passed by so many together.
        pub type Barrier = $crate::Barrier<$handle>;
        /// Values by keys.
        pub type Dict<K, V> = $crate::Dict<K, V, $handle>;
        /// Values of any types by names.
        pub type Namespace = $crate::Namespace<$handle>;
        /// Values by their places; it grows and shrinks.
        pub type List<T> = $crate::List<T, $handle>;
        /// Values by their places, always as many.
        pub type Array<T> = $crate::Array<T, $handle>;
        /// One value.
        pub type Value<T> = $crate::Value<T, $handle>;
        /// Plain numbers in memory that all who have a handle share.
        pub type SharedArray<T> = $crate::SharedArray<T, $handle>;
        /// The same, to be read only.
        pub type SharedSlice<T> = $crate::SharedSlice<T, $handle>;
    };
}

/// Defines a typed handle: cloned, compared by nobody, written and read as a handle of its kind and rights.
macro_rules! object {
    ($(#[$docs:meta])* $name:ident<$($item:ident),*>: $kind:ident, $rights:expr) => {
        $(#[$docs])*
        pub struct $name<$($item,)* H> {
            pub(crate) handle: H,
            pub(crate) types: std::marker::PhantomData<fn() -> ($($item,)*)>,
        }

        impl<$($item,)* H: $crate::Handle> $name<$($item,)* H> {
            /// The typed form of a handle. Whoever makes it vouches for its kind and type.
            #[doc(hidden)]
            pub fn from_handle(handle: H) -> Self {
                Self { handle, types: std::marker::PhantomData }
            }
        }

        impl<$($item,)* H: $crate::Handle> Clone for $name<$($item,)* H> {
            fn clone(&self) -> Self {
                Self::from_handle(self.handle.clone())
            }
        }

        impl<$($item,)* H: std::fmt::Debug> std::fmt::Debug for $name<$($item,)* H> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.handle).finish()
            }
        }

        impl<$($item,)* H: $crate::Handle> serde::Serialize for $name<$($item,)* H> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let place = self.handle.send().map_err(serde::ser::Error::custom)?;
                serializer.serialize_u32(place)
            }
        }

        impl<'de, $($item,)* H: $crate::Handle> serde::Deserialize<'de> for $name<$($item,)* H> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let place = u32::deserialize(deserializer)?;
                // Whoever sent it may have had more rights than its type has.
                let handle = H::receive(place).map_err(serde::de::Error::custom)?;
                Ok(Self::from_handle(handle.narrowed($rights)))
            }
        }

        impl<$($item: wpool_schema::Schema,)* H> wpool_schema::Schema for $name<$($item,)* H> {
            fn describe(types: &mut wpool_schema::TypeTable) -> wpool_abi::TypeIndex {
                // A handle may be part of what it carries.
                types.named::<Self>(|types| {
                    let items = vec![$(<$item as wpool_schema::Schema>::describe(types)),*];
                    let _ = &types;
                    wpool_abi::Type::Handle(wpool_abi::HandleType {
                        kind: wpool_abi::object::Kind::$kind,
                        rights: $rights,
                        items,
                    })
                })
            }
        }
    };
}
pub(crate) use object;
