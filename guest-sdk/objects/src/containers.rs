//! What holds values: dictionaries, lists, arrays, namespaces, single values.

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_abi::object::{Call, Item, ObjectError, Reply, Rights, Wait};
use wpool_schema::Schema;

use crate::Handle;
use crate::handle::{from_bytes, key, object, pack, unexpected, unpack};

object! {
    /// Values of type `V` by keys of type `K`, in the order of the keys' bytes.
    Dict<K, V>: Dict, Rights::ALL
}

object! {
    /// Values of type `T` by their places; it grows and shrinks. A negative place counts from the end.
    List<T>: List, Rights::ALL
}

object! {
    /// Values of type `T` by their places, as many as at the start. A negative place counts from the end.
    Array<T>: Array, Rights::ALL
}

object! {
    /// One value of type `T`.
    Value<T>: Value, Rights::ALL
}

object! {
    /// Values of any types, by names.
    Namespace<>: Namespace, Rights::ALL
}

fn found<T: DeserializeOwned, H: Handle>(reply: Reply<Item<H>>) -> Result<Option<T>, ObjectError> {
    match reply {
        Reply::Found(item) => item.map(unpack).transpose(),
        _ => unexpected(),
    }
}

fn there<T: DeserializeOwned, H: Handle>(reply: Reply<Item<H>>) -> Result<T, ObjectError> {
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

impl<K: Serialize, V: Serialize, H: Handle> Dict<K, V, H> {
    /// Gives a key a value, whatever it had. In a task it returns at once.
    ///
    /// # Errors
    /// If the value cannot be written, or the dictionary is too large.
    pub fn set(&self, key_: &K, value: &V) -> Result<(), ObjectError> {
        self.handle.post(Call::Insert { key: key(key_)?, value: pack(value)?, replace: true })
    }
}

impl<K: Serialize, V: Serialize + DeserializeOwned, H: Handle> Dict<K, V, H> {
    /// Gives a key a value, and returns the one that it had.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn insert(&self, key_: &K, value: &V) -> Result<Option<V>, ObjectError> {
        let call = Call::Insert { key: key(key_)?, value: pack(value)?, replace: true };
        found(self.handle.call(call, Wait::NonBlocking)?)
    }

    /// Gives a key a value if it has none, and returns the one that it had.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub fn set_default(&self, key_: &K, value: &V) -> Result<Option<V>, ObjectError> {
        let call = Call::Insert { key: key(key_)?, value: pack(value)?, replace: false };
        found(self.handle.call(call, Wait::NonBlocking)?)
    }
}

impl<K: Serialize, V: DeserializeOwned, H: Handle> Dict<K, V, H> {
    /// The value of a key; none if it has none.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn get(&self, key_: &K) -> Result<Option<V>, ObjectError> {
        found(self.handle.call(Call::Look(key(key_)?), Wait::NonBlocking)?)
    }

    /// Takes a key out, and returns its value; none if it had none.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn remove(&self, key_: &K) -> Result<Option<V>, ObjectError> {
        found(self.handle.call(Call::Remove(key(key_)?), Wait::NonBlocking)?)
    }
}

impl<K: DeserializeOwned, V: DeserializeOwned, H: Handle> Dict<K, V, H> {
    /// All keys and values, as they are at one moment.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn items(&self) -> Result<Vec<(K, V)>, ObjectError> {
        match self.handle.call(Call::All, Wait::NonBlocking)? {
            Reply::Entries(entries) => {
                entries.into_iter().map(|(key, value)| Ok((from_bytes(&key)?, unpack(value)?))).collect()
            }
            _ => unexpected(),
        }
    }

    /// All keys, as they are at one moment.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn keys(&self) -> Result<Vec<K>, ObjectError> {
        match self.handle.call(Call::Keys, Wait::NonBlocking)? {
            Reply::Keys(keys) => keys.iter().map(|key| from_bytes(key)).collect(),
            _ => unexpected(),
        }
    }
}

impl<K, V, H: Handle> Dict<K, V, H> {
    /// How many keys there are.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn len(&self) -> Result<u64, ObjectError> {
        size(&self.handle)
    }

    /// Whether there is no key.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn is_empty(&self) -> Result<bool, ObjectError> {
        self.len().map(|len| len == 0)
    }

    /// Takes all keys out.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Clear)
    }
}

macro_rules! sequence {
    ($($name:ident),*) => { $(
        impl<T: DeserializeOwned, H: Handle> $name<T, H> {
            /// The value at a place.
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] if there is no such place.
            pub fn get(&self, at: i64) -> Result<T, ObjectError> {
                there(self.handle.call(Call::At(at), Wait::NonBlocking)?)
            }

            /// All values, as they are at one moment.
            ///
            /// # Errors
            /// If the pool is gone.
            pub fn to_vec(&self) -> Result<Vec<T>, ObjectError> {
                all(&self.handle)
            }
        }

        impl<T: Serialize, H: Handle> $name<T, H> {
            /// Puts a value in a place. In a task it returns at once.
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] if there is no such place.
            pub fn set(&self, at: i64, value: &T) -> Result<(), ObjectError> {
                self.handle.post(Call::SetAt(at, pack(value)?))
            }
        }

        impl<T, H: Handle> $name<T, H> {
            /// How many values there are.
            ///
            /// # Errors
            /// If the pool is gone.
            pub fn len(&self) -> Result<u64, ObjectError> {
                size(&self.handle)
            }

            /// Whether there is no value.
            ///
            /// # Errors
            /// If the pool is gone.
            pub fn is_empty(&self) -> Result<bool, ObjectError> {
                self.len().map(|len| len == 0)
            }
        }
    )* };
}

sequence!(List, Array);

impl<T: Serialize, H: Handle> List<T, H> {
    /// Puts a value behind the others. In a task it returns at once.
    ///
    /// # Errors
    /// If the value cannot be written, or the list is too large.
    pub fn append(&self, value: &T) -> Result<(), ObjectError> {
        self.extend([value])
    }

    /// Puts several values behind the others, together. In a task it returns at once.
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

    /// Puts a value before a place; beyond either end it is that end. In a task it returns at once.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn insert(&self, at: i64, value: &T) -> Result<(), ObjectError> {
        self.handle.post(Call::InsertAt(at, pack(value)?))
    }
}

impl<T: DeserializeOwned, H: Handle> List<T, H> {
    /// Takes the value at a place out.
    ///
    /// # Errors
    /// [`ObjectError::NotFound`] if there is no such place.
    pub fn pop(&self, at: i64) -> Result<T, ObjectError> {
        there(self.handle.call(Call::RemoveAt(at), Wait::NonBlocking)?)
    }
}

impl<T, H: Handle> List<T, H> {
    /// Takes all values out.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn clear(&self) -> Result<(), ObjectError> {
        self.handle.post(Call::Clear)
    }
}

impl<T: DeserializeOwned, H: Handle> Value<T, H> {
    /// The value.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn get(&self) -> Result<T, ObjectError> {
        there(self.handle.call(Call::At(0), Wait::NonBlocking)?)
    }
}

impl<T: Serialize, H: Handle> Value<T, H> {
    /// Puts another value in its place. In a task it returns at once.
    ///
    /// # Errors
    /// If the value cannot be written.
    pub fn set(&self, value: &T) -> Result<(), ObjectError> {
        self.handle.post(Call::SetAt(0, pack(value)?))
    }
}

impl<T: Serialize + DeserializeOwned, H: Handle> Value<T, H> {
    /// Changes the value to what `change` makes of it, and returns what it was. If somebody else changes it meanwhile,
    /// `change` is asked again.
    ///
    /// # Errors
    /// If a value cannot be written, or the pool is gone.
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
    /// Gives a name a value, of any type. In a task it returns at once.
    ///
    /// # Errors
    /// If the value cannot be written.
    pub fn set<T: Serialize + Schema>(&self, name: &str, value: &T) -> Result<(), ObjectError> {
        let value = pack(&(wpool_schema::fingerprint::<T>(), value))?;
        self.handle.post(Call::Insert { key: name.as_bytes().to_vec(), value, replace: true })
    }

    /// The value of a name.
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

    /// Takes a name out. False if it had no value.
    ///
    /// # Errors
    /// If the pool is gone.
    pub fn remove(&self, name: &str) -> Result<bool, ObjectError> {
        match self.handle.call(Call::Remove(name.as_bytes().to_vec()), Wait::NonBlocking)? {
            Reply::Found(found) => Ok(found.is_some()),
            _ => unexpected(),
        }
    }
}
