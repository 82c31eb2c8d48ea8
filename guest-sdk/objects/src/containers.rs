//! Containers: dictionaries, lists, arrays, namespaces and single values.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};
use wpool_schema::Schema;

use crate::Handle;
use crate::handle::{from_bytes, key, object, pack, unexpected, unpack};

object! {
    /// A dictionary: values of type `V` by keys of type `K`. Its order is that of the encoded keys.
    Dict<K, V>: Dict, Rights::ALL
}

object! {
    /// Values of type `T` by index, of variable length. A negative index counts from the end.
    List<T>: List, Rights::ALL
}

object! {
    /// Values of type `T` by index, of fixed length. A negative index counts from the end.
    Array<T>: Array, Rights::ALL
}

object! {
    /// One value of type `T`.
    Value<T>: Value, Rights::ALL
}

object! {
    /// Values of any types by name.
    Namespace<>: Namespace, Rights::ALL
}

impl<K: Serialize, V: Serialize, H: Handle> Dict<K, V, H> {
    /// Sets the value of a key. In a task it does not wait for the reply: an error is then returned by the next call
    /// that does, as [`ObjectError::Earlier`].
    ///
    /// # Errors
    /// [`ObjectError::BadValue`] if the key or the value cannot be encoded, [`ObjectError::Quota`] if the dictionary
    /// would be larger than 64 MiB.
    pub fn set(&self, key_: &K, value: &V) -> Result<(), ObjectError> {
        self.handle.post(Call::Insert { key: key(key_)?, value: pack(value)?, replace: true })
    }
}

impl<K: Serialize, V: Serialize + DeserializeOwned, H: Handle> Dict<K, V, H> {
    /// Sets the value of a key, and returns its former value; `None` if it had none.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn insert(&self, key_: &K, value: &V) -> Result<Option<V>, ObjectError> {
        let call = Call::Insert { key: key(key_)?, value: pack(value)?, replace: true };
        found(self.handle.call(call, Wait::NonBlocking)?)
    }

    /// Sets the value of a key that has none. Returns the value that the key already had, which is kept; `None` if it
    /// had none.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_default(&self, key_: &K, value: &V) -> Result<Option<V>, ObjectError> {
        let call = Call::Insert { key: key(key_)?, value: pack(value)?, replace: false };
        found(self.handle.call(call, Wait::NonBlocking)?)
    }
}

impl<K: Serialize, V: DeserializeOwned, H: Handle> Dict<K, V, H> {
    /// Returns the value of a key; `None` if it has none.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn get(&self, key_: &K) -> Result<Option<V>, ObjectError> {
        found(self.handle.call(Call::Look(key(key_)?), Wait::NonBlocking)?)
    }

    /// Removes a key, and returns its value; `None` if it had none.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn remove(&self, key_: &K) -> Result<Option<V>, ObjectError> {
        found(self.handle.call(Call::Remove(key(key_)?), Wait::NonBlocking)?)
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned, H: Handle> Dict<K, V, H> {
    /// Returns all keys and values, of one instant.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn items(&self) -> Result<Vec<(K, V)>, ObjectError> {
        match self.handle.call(Call::All, Wait::NonBlocking)? {
            Reply::Entries(entries) => {
                entries.into_iter().map(|(key, value)| Ok((from_bytes(&key)?, unpack(value)?))).collect()
            }
            _ => unexpected(),
        }
    }

    /// Returns all keys, of one instant.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn keys(&self) -> Result<Vec<K>, ObjectError> {
        match self.handle.call(Call::Keys, Wait::NonBlocking)? {
            Reply::Keys(keys) => keys.iter().map(|key| from_bytes(key)).collect(),
            _ => unexpected(),
        }
    }
}

impl<K, V, H: Handle> Dict<K, V, H> {
    /// Returns the number of keys.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn len(&self) -> Result<u64, ObjectError> {
        size(&self.handle)
    }

    /// Returns whether there are no keys.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn is_empty(&self) -> Result<bool, ObjectError> {
        self.len().map(|len| len == 0)
    }

    /// Removes all keys. In a task it does not wait for the reply.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Clear)
    }
}

macro_rules! sequence {
    ($($name:ident),*) => { $(
        impl<T: DeserializeOwned, H: Handle> $name<T, H> {
            /// Returns the value at an index.
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] if there is no such index.
            pub fn get(&self, at: i64) -> Result<T, ObjectError> {
                existing(self.handle.call(Call::At(at), Wait::NonBlocking)?)
            }

            /// Returns all values, of one instant.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn to_vec(&self) -> Result<Vec<T>, ObjectError> {
                all(&self.handle)
            }
        }

        impl<T: Serialize, H: Handle> $name<T, H> {
            /// Replaces the value at an index. In a task it does not wait for the reply: an error is then returned by
            /// the next call that does, as [`ObjectError::Earlier`].
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] if there is no such index, [`ObjectError::BadValue`] if the value cannot be
            /// encoded.
            pub fn set(&self, at: i64, value: &T) -> Result<(), ObjectError> {
                self.handle.post(Call::SetAt(at, pack(value)?))
            }
        }

        impl<T, H: Handle> $name<T, H> {
            /// Returns the number of values.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn len(&self) -> Result<u64, ObjectError> {
                size(&self.handle)
            }

            /// Returns whether there are no values.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn is_empty(&self) -> Result<bool, ObjectError> {
                self.len().map(|len| len == 0)
            }
        }
    )* };
}

sequence!(List, Array);

impl<T: Serialize, H: Handle> List<T, H> {
    /// Appends a value. In a task it does not wait for the reply: an error is then returned by the next call that does,
    /// as [`ObjectError::Earlier`].
    ///
    /// # Errors
    /// [`ObjectError::BadValue`] if the value cannot be encoded, [`ObjectError::Quota`] if the list would be larger
    /// than 64 MiB.
    pub fn append(&self, value: &T) -> Result<(), ObjectError> {
        self.extend([value])
    }

    /// Appends at most 100,000 values, with one message. In a task it does not wait for the reply.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn extend<'v>(&self, values: impl IntoIterator<Item = &'v T>) -> Result<(), ObjectError>
    where
        T: 'v,
    {
        let values = values.into_iter().map(pack).collect::<Result<_, _>>()?;
        self.handle.post(Call::Extend(values))
    }

    /// Inserts a value before an index; an index beyond either end means that end. In a task it does not wait for the
    /// reply.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn insert(&self, at: i64, value: &T) -> Result<(), ObjectError> {
        self.handle.post(Call::InsertAt(at, pack(value)?))
    }
}

impl<T: DeserializeOwned, H: Handle> List<T, H> {
    /// Removes the value at an index, and returns it.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if there is no such index.
    pub fn pop(&self, at: i64) -> Result<T, ObjectError> {
        existing(self.handle.call(Call::RemoveAt(at), Wait::NonBlocking)?)
    }
}

impl<T, H: Handle> List<T, H> {
    /// Removes all values. In a task it does not wait for the reply.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Clear)
    }
}

impl<T: DeserializeOwned, H: Handle> Value<T, H> {
    /// Returns the value.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn get(&self) -> Result<T, ObjectError> {
        existing(self.handle.call(Call::At(0), Wait::NonBlocking)?)
    }
}

impl<T: Serialize, H: Handle> Value<T, H> {
    /// Replaces the value. In a task it does not wait for the reply.
    ///
    /// # Errors
    /// [`ObjectError::BadValue`] if the value cannot be encoded.
    pub fn set(&self, value: &T) -> Result<(), ObjectError> {
        self.handle.post(Call::SetAt(0, pack(value)?))
    }
}

impl<T: Serialize + DeserializeOwned, H: Handle> Value<T, H> {
    /// Replaces the value by `change(value)` atomically, and returns the former value. If another party changes the
    /// value meanwhile, `change` is called again.
    ///
    /// # Errors
    /// [`ObjectError::BadValue`] if a value cannot be encoded.
    pub fn update(&self, mut change: impl FnMut(T) -> T) -> Result<T, ObjectError> {
        loop {
            let Reply::Found(Some(item)) = self.handle.call(Call::At(0), Wait::NonBlocking)? else {
                return unexpected();
            };
            let expected = item.bytes.clone();
            let value = pack(&change(unpack(item)?))?;
            let swapped = self.handle.call(Call::Swap { at: 0, expected, value }, Wait::NonBlocking)?;
            if let Some(before) = found(swapped)? {
                return Ok(before);
            }
        }
    }
}

impl<H: Handle> Namespace<H> {
    /// Sets the value of a name. In a task it does not wait for the reply.
    ///
    /// # Errors
    /// [`ObjectError::BadValue`] if the value cannot be encoded.
    pub fn set<T: Serialize + Schema>(&self, name: &str, value: &T) -> Result<(), ObjectError> {
        let value = pack(&(wpool_schema::fingerprint::<T>(), value))?;
        self.handle.post(Call::Insert { key: name.as_bytes().to_vec(), value, replace: true })
    }

    /// Returns the value of a name.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if it has none, [`ObjectError::WrongType`] if it has one of another type.
    pub fn get<T: DeserializeOwned + Schema>(&self, name: &str) -> Result<T, ObjectError> {
        let reply = self.handle.call(Call::Look(name.as_bytes().to_vec()), Wait::NonBlocking)?;
        let Reply::Found(item) = reply else { return unexpected() };
        let Item { bytes, handles } = item.ok_or(ObjectError::NotFound)?;
        let (of, bytes) = postcard::take_from_bytes::<u64>(&bytes)
            .map_err(|error| ObjectError::BadValue(error.to_string()))?;
        if of != wpool_schema::fingerprint::<T>() {
            return Err(ObjectError::WrongType);
        }
        unpack(Item { bytes: bytes.to_vec(), handles })
    }

    /// Removes a name, and returns whether it had a value.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn remove(&self, name: &str) -> Result<bool, ObjectError> {
        match self.handle.call(Call::Remove(name.as_bytes().to_vec()), Wait::NonBlocking)? {
            Reply::Found(found) => Ok(found.is_some()),
            _ => unexpected(),
        }
    }
}

fn found<T: DeserializeOwned, H: Handle>(reply: Reply<Item<H>>) -> Result<Option<T>, ObjectError> {
    match reply {
        Reply::Found(item) => item.map(unpack).transpose(),
        _ => unexpected(),
    }
}

/// Like [`found`], for a value that must exist.
fn existing<T: DeserializeOwned, H: Handle>(reply: Reply<Item<H>>) -> Result<T, ObjectError> {
    found(reply)?.ok_or(ObjectError::NotFound)
}

fn size<H: Handle>(handle: &H) -> Result<u64, ObjectError> {
    match handle.call(Call::Size, Wait::NonBlocking)? {
        Reply::Size(len, _) => Ok(len),
        _ => unexpected(),
    }
}

fn all<T: DeserializeOwned, H: Handle>(handle: &H) -> Result<Vec<T>, ObjectError> {
    match handle.call(Call::All, Wait::NonBlocking)? {
        Reply::Items(items, _) => items.into_iter().map(unpack).collect(),
        _ => unexpected(),
    }
}
