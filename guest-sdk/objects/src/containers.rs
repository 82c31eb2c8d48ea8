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

    /// Sets the values of many keys, one after the other: others may see some of them before the rest. In a task it does
    /// not wait for the replies.
    ///
    /// # Errors
    /// As [`set`](Self::set). The keys before the one that failed are set.
    pub fn update<'e>(&self, entries: impl IntoIterator<Item = (&'e K, &'e V)>) -> Result<(), ObjectError>
    where
        K: 'e,
        V: 'e,
    {
        entries.into_iter().try_for_each(|(key, value)| self.set(key, value))
    }
}

impl<K: Serialize, V: Serialize + DeserializeOwned + Schema, H: Handle> Dict<K, V, H> {
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

impl<K: Serialize, V: DeserializeOwned + Schema, H: Handle> Dict<K, V, H> {
    /// Returns the value of a key; `None` if it has none.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn get(&self, key_: &K) -> Result<Option<V>, ObjectError> {
        found(self.handle.call(Call::Look(key(key_)?), Wait::NonBlocking)?)
    }

    /// Returns whether a key has a value, which is not sent.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn contains(&self, key_: &K) -> Result<bool, ObjectError> {
        match self.handle.call(Call::Has(key(key_)?), Wait::NonBlocking)? {
            Reply::Flag(has) => Ok(has),
            _ => unexpected(),
        }
    }

    /// Removes a key, and returns its value; `None` if it had none.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn remove(&self, key_: &K) -> Result<Option<V>, ObjectError> {
        found(self.handle.call(Call::Remove(key(key_)?), Wait::NonBlocking)?)
    }
}

impl<K: DeserializeOwned + Schema, V: DeserializeOwned + Schema, H: Handle> Dict<K, V, H> {
    /// Returns all keys and values, of one instant.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn items(&self) -> Result<Vec<(K, V)>, ObjectError> {
        match self.handle.call(Call::All, Wait::NonBlocking)? {
            Reply::Entries(entries) => entries
                .into_iter()
                .map(|(key, value)| Ok((from_bytes::<K, H>(&key)?, unpack(value)?)))
                .collect(),
            _ => unexpected(),
        }
    }

    /// Returns all values in the order of their keys, of one instant.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn values(&self) -> Result<Vec<V>, ObjectError> {
        Ok(self.items()?.into_iter().map(|(_, value)| value).collect())
    }

    /// Returns an iterator over all keys and values, of one instant: later changes do not show in it.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn iter(&self) -> Result<std::vec::IntoIter<(K, V)>, ObjectError> {
        self.items().map(Vec::into_iter)
    }

    /// Removes one key, the last in the order of the dictionary, and returns it with its value; `None` if there is none.
    ///
    /// # Errors
    /// [`ObjectError::PoolClosed`].
    pub fn popitem(&self) -> Result<Option<(K, V)>, ObjectError> {
        match self.handle.call(Call::PopLast, Wait::NonBlocking)? {
            Reply::Entries(entries) => {
                let last = entries.into_iter().next();
                last.map(|(key, value)| Ok((from_bytes::<K, H>(&key)?, unpack(value)?))).transpose()
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
            Reply::Keys(keys) => keys.iter().map(|key| from_bytes::<K, H>(key)).collect(),
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
        impl<T: DeserializeOwned + Schema, H: Handle> $name<T, H> {
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

            /// Returns an iterator over all values, of one instant: later changes do not show in it.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn iter(&self) -> Result<std::vec::IntoIter<T>, ObjectError> {
                self.to_vec().map(Vec::into_iter)
            }

            /// Returns the values from the index `from` up to `to`, as a slice of Python's: negative indices count from
            /// the end, and those beyond either end mean that end.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn slice(&self, from: i64, to: i64) -> Result<Vec<T>, ObjectError> {
                items(self.handle.call(Call::Slice { from, to }, Wait::NonBlocking)?)
            }

            /// Reverses the order of the values atomically.
            ///
            /// # Errors
            /// [`ObjectError::PoolClosed`].
            pub fn reverse(&self) -> Result<(), ObjectError> {
                reorder(&self.handle, |values: Vec<Item<H>>| Ok((0..index(values.len())).rev().collect()))
            }

            /// Sorts the values atomically: if another party changes them meanwhile, they are sorted again. Equal values
            /// keep their order.
            ///
            /// # Errors
            /// [`ObjectError::BadValue`] if a value cannot be decoded.
            pub fn sort(&self) -> Result<(), ObjectError>
            where
                T: Ord,
            {
                reorder(&self.handle, |values| {
                    let values: Vec<T> = values.into_iter().map(unpack).collect::<Result<_, _>>()?;
                    let mut order: Vec<u32> = (0..index(values.len())).collect();
                    order.sort_by(|a, b| values[*a as usize].cmp(&values[*b as usize]));
                    Ok(order)
                })
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

            /// Returns the index of the first value that is equal to `value`, by its encoding.
            ///
            /// # Errors
            /// [`ObjectError::NotFound`] if there is none.
            pub fn index(&self, value: &T) -> Result<u64, ObjectError> {
                number(self.handle.call(Call::Find { value: pack::<H>(value)?.bytes, from: 0 }, Wait::NonBlocking)?)
            }

            /// Returns the number of values that are equal to `value`, by their encoding.
            ///
            /// # Errors
            /// [`ObjectError::BadValue`] if the value cannot be encoded.
            pub fn count(&self, value: &T) -> Result<u64, ObjectError> {
                number(self.handle.call(Call::Count(pack::<H>(value)?.bytes), Wait::NonBlocking)?)
            }

            /// Returns whether a value is equal to `value`, by its encoding.
            ///
            /// # Errors
            /// [`ObjectError::BadValue`] if the value cannot be encoded.
            pub fn contains(&self, value: &T) -> Result<bool, ObjectError> {
                match self.index(value) {
                    Ok(_) => Ok(true),
                    Err(ObjectError::NotFound) => Ok(false),
                    Err(error) => Err(error),
                }
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

    /// Replaces the values from the index `from` up to `to` by others, as an assignment to a slice of Python's; without
    /// others they are removed. In a task it does not wait for the reply.
    ///
    /// # Errors
    /// As [`append`](Self::append).
    pub fn splice<'v>(
        &self,
        from: i64,
        to: i64,
        values: impl IntoIterator<Item = &'v T>,
    ) -> Result<(), ObjectError>
    where
        T: 'v,
    {
        let values = values.into_iter().map(pack).collect::<Result<_, _>>()?;
        self.handle.post(Call::Splice { from, to, values })
    }
}

impl<T: DeserializeOwned + Schema, H: Handle> List<T, H> {
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

impl<T: DeserializeOwned + Schema, H: Handle> Value<T, H> {
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

impl<T: Serialize + DeserializeOwned + Schema, H: Handle> Value<T, H> {
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

fn found<T: DeserializeOwned + Schema, H: Handle>(reply: Reply<Item<H>>) -> Result<Option<T>, ObjectError> {
    match reply {
        Reply::Found(item) => item.map(unpack).transpose(),
        _ => unexpected(),
    }
}

/// Like [`found`], for a value that must exist.
fn existing<T: DeserializeOwned + Schema, H: Handle>(reply: Reply<Item<H>>) -> Result<T, ObjectError> {
    found(reply)?.ok_or(ObjectError::NotFound)
}

fn size<H: Handle>(handle: &H) -> Result<u64, ObjectError> {
    match handle.call(Call::Size, Wait::NonBlocking)? {
        Reply::Size(len, _) => Ok(len),
        _ => unexpected(),
    }
}

fn all<T: DeserializeOwned + Schema, H: Handle>(handle: &H) -> Result<Vec<T>, ObjectError> {
    items(handle.call(Call::All, Wait::NonBlocking)?)
}

fn items<T: DeserializeOwned + Schema, H: Handle>(reply: Reply<Item<H>>) -> Result<Vec<T>, ObjectError> {
    match reply {
        Reply::Items(items, _) => items.into_iter().map(unpack).collect(),
        _ => unexpected(),
    }
}

fn number<H>(reply: Reply<Item<H>>) -> Result<u64, ObjectError> {
    match reply {
        Reply::Number(number) => Ok(number),
        _ => unexpected(),
    }
}

/// The index of a value as an order has it; no object holds more values.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Puts the values into the order that `order` makes of them. If they are changed meanwhile it is made again.
fn reorder<H: Handle>(
    handle: &H,
    order: impl Fn(Vec<Item<H>>) -> Result<Vec<u32>, ObjectError>,
) -> Result<(), ObjectError> {
    loop {
        let revision = number(handle.call(Call::Revision, Wait::NonBlocking)?)?;
        let Reply::Items(values, _) = handle.call(Call::All, Wait::NonBlocking)? else { return unexpected() };
        let call = Call::Reorder { revision, order: order(values)? };
        match handle.call(call, Wait::NonBlocking)? {
            Reply::Flag(true) => return Ok(()),
            Reply::Flag(false) => {}
            _ => return unexpected(),
        }
    }
}
