//! [`Handle`]: the way to an object, and how values with handles in them are encoded and decoded.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};
use wpool_schema::Schema;

use crate::HandleScope;

/// A handle of an object. The host has one type of handle, and a guest has another.
pub trait Handle: Clone + fmt::Debug + Sized {
    /// Whether values are read that an untrusted party has written: then their depth and parts are bounded.
    const READS_UNTRUSTED: bool;

    /// Makes a call, and waits for the reply.
    ///
    /// # Errors
    /// The call's error; [`ObjectError::TimedOut`] if `wait` elapses.
    fn call(&self, call: Call<Item<Self>>, wait: Wait) -> Result<Reply<Item<Self>>, ObjectError>;

    /// Makes a call that needs no reply. It may return before the call is done.
    ///
    /// # Errors
    /// An error that is known at once. Any other error is returned by the next call that waits for a reply.
    fn post(&self, call: Call<Item<Self>>) -> Result<(), ObjectError>;

    /// Makes a call, for an `.await`.
    fn call_async(
        &self,
        call: Call<Item<Self>>,
        wait: Wait,
    ) -> impl Future<Output = Result<Reply<Item<Self>>, ObjectError>>;

    /// Returns the size of a shared array in bytes.
    ///
    /// # Errors
    /// [`ObjectError::WrongKind`] if the object is not a shared array.
    fn shared_size(&self) -> Result<u64, ObjectError>;

    /// Fills `into` from byte offset `at` of a shared array.
    ///
    /// # Errors
    /// As [`shared_size`](Self::shared_size); [`ObjectError::NotFound`] beyond the end, [`ObjectError::WrongType`] if
    /// `at` or the length is not a multiple of the element size.
    fn shared_read(&self, at: u64, into: &mut [u8]) -> Result<(), ObjectError>;

    /// Copies `bytes` to byte offset `at` of a shared array.
    ///
    /// # Errors
    /// As [`shared_read`](Self::shared_read); [`ObjectError::NoRight`] if the handle is read-only.
    fn shared_write(&self, at: u64, bytes: &[u8]) -> Result<(), ObjectError>;

    /// Adds `number` to the element at byte offset `at` atomically, and returns its former value.
    ///
    /// # Errors
    /// As [`shared_write`](Self::shared_write).
    fn shared_add(&self, at: u64, number: u64) -> Result<u64, ObjectError>;

    /// Returns the time since a fixed instant, or `None` on a side without a clock.
    fn now() -> Option<Duration>;

    /// Returns the same handle bound to the calling party: calls by it are that party's, from whichever thread.
    #[must_use]
    fn bound(&self) -> Self;

    /// Returns the same handle bound to a new party of its own.
    #[must_use]
    fn detached(&self) -> Self;

    /// Returns a handle of the same object with the rights that are also in `rights`.
    #[must_use]
    fn narrowed(&self, rights: Rights) -> Self;

    /// Calls `act` with the handle scope of this thread.
    fn handle_scope<T>(act: impl FnOnce(&HandleScope<Self>) -> T) -> T;

    /// Attaches the handle to the value that this thread is encoding, and returns its position there.
    ///
    /// # Errors
    /// If no value that can hold handles is being encoded.
    fn attach(&self) -> Result<u32, String> {
        Self::handle_scope(|scope| scope.attach(self))
    }

    /// Returns the handle at a position of the value that this thread is decoding.
    ///
    /// # Errors
    /// If the value has no handle at this position.
    fn resolve(position: u32) -> Result<Self, String> {
        Self::handle_scope(|scope| scope.resolve(position))
    }

    /// Calls `act`, which encodes a value, and returns its result and the handles that were attached meanwhile.
    fn attaching<T>(act: impl FnOnce() -> T) -> (T, Vec<Self>) {
        let mut outer =
            Attaching::<Self>(Self::handle_scope(|scope| scope.replace_attached(Some(Vec::new()))));
        let value = act();
        (value, outer.end())
    }

    /// Calls `act`, which decodes a value that came with these handles.
    fn resolving<T>(handles: Vec<Self>, act: impl FnOnce() -> T) -> T {
        let _outer = Resolving::<Self>(Self::handle_scope(|scope| scope.replace_received(handles)));
        act()
    }
}

/// The attached handles of the value around the one that is being encoded. They are restored when this is dropped, also
/// if encoding panics.
struct Attaching<H: Handle>(Option<Vec<H>>);

impl<H: Handle> Attaching<H> {
    /// Restores them, and returns the handles that were attached meanwhile.
    fn end(&mut self) -> Vec<H> {
        let outer = self.0.take();
        H::handle_scope(|scope| scope.replace_attached(outer)).unwrap_or_default()
    }
}

impl<H: Handle> Drop for Attaching<H> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.end();
        }
    }
}

/// The received handles of the value around the one that is being decoded, restored when this is dropped.
struct Resolving<H: Handle>(Vec<H>);

impl<H: Handle> Drop for Resolving<H> {
    fn drop(&mut self) {
        let outer = std::mem::take(&mut self.0);
        // Dropping a handle may run code that uses the scope, so the scope is restored first.
        drop(H::handle_scope(|scope| scope.replace_received(outer)));
    }
}

/// Encodes a value and the handles in it.
pub(crate) fn pack<H: Handle>(value: &(impl Serialize + ?Sized)) -> Result<Item<H>, ObjectError> {
    let (bytes, handles) = H::attaching(|| postcard::to_allocvec(value));
    let bytes = bytes.map_err(|error| ObjectError::BadValue(error.to_string()))?;
    Ok(Item { bytes, handles })
}

/// Decodes a value and the handles in it.
pub(crate) fn unpack<T: DeserializeOwned + Schema, H: Handle>(item: Item<H>) -> Result<T, ObjectError> {
    let Item { bytes, handles } = item;
    H::resolving(handles, || from_bytes::<T, H>(&bytes))
}

/// Encodes a key, which cannot hold handles.
pub(crate) fn key(key: &(impl Serialize + ?Sized)) -> Result<Vec<u8>, ObjectError> {
    postcard::to_allocvec(key).map_err(|error| ObjectError::BadValue(error.to_string()))
}

pub(crate) fn from_bytes<T: DeserializeOwned + Schema, H: Handle>(bytes: &[u8]) -> Result<T, ObjectError> {
    if H::READS_UNTRUSTED {
        wpool_schema::check_bounds::<T>(bytes).map_err(|excess| ObjectError::BadValue(excess.to_string()))?;
    }
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(ObjectError::BadValue(format!("{} bytes are left over", rest.len()))),
        Err(error) => Err(ObjectError::BadValue(error.to_string())),
    }
}

/// Makes a call whose reply is yes or no.
pub(crate) fn flag<H: Handle>(handle: &H, call: Call<Item<H>>, wait: Wait) -> Result<bool, ObjectError> {
    match handle.call(call, wait)? {
        Reply::Flag(flag) => Ok(flag),
        _ => unexpected(),
    }
}

/// The error for a reply that is not one of its call.
pub(crate) fn unexpected<T>() -> Result<T, ObjectError> {
    Err(ObjectError::BadValue("the answer is to another question".to_owned()))
}

/// A wait of at most `timeout`. More nanoseconds than a `u64` holds count as its maximum.
pub(crate) fn at_most(timeout: Duration) -> Wait {
    Wait::Timeout(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX))
}

/// Defines a typed object over a handle: cloned like the handle, encoded as a handle of its kind and rights.
macro_rules! object {
    ($(#[$docs:meta])* $name:ident<$($item:ident),*>: $kind:ident, $rights:expr) => {
        $(#[$docs])*
        pub struct $name<$($item,)* H> {
            pub(crate) handle: H,
            pub(crate) types: std::marker::PhantomData<fn() -> ($($item,)*)>,
        }

        impl<$($item,)* H: $crate::Handle> $name<$($item,)* H> {
            /// Returns the typed form of a handle. Its kind and the types of its values are not checked.
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
                let position = self.handle.attach().map_err(serde::ser::Error::custom)?;
                serializer.serialize_u32(position)
            }
        }

        impl<'de, $($item,)* H: $crate::Handle> serde::Deserialize<'de> for $name<$($item,)* H> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let position = u32::deserialize(deserializer)?;
                // The handle may have more rights than this type, so those of the type are the limit.
                let handle = H::resolve(position).map_err(serde::de::Error::custom)?;
                Ok(Self::from_handle(handle.narrowed($rights)))
            }
        }

        impl<$($item: wpool_schema::Schema,)* H> wpool_schema::Schema for $name<$($item,)* H> {
            fn describe(types: &mut wpool_schema::TypeTable) -> wpool_abi::TypeIndex {
                // By name, as an object may hold handles of its own type.
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
