//! Objects whose calls never wait: dictionaries, lists, arrays and single values.

use std::collections::BTreeMap;

use wpool_abi::object::{Call, ObjectError, Reply};

use super::attempt::Attempt;
use super::queue::size;
use crate::manager::grant::{MAX_BYTES, Stored};

/// A dictionary: values by keys, which are bytes.
#[derive(Debug, Default)]
pub(in crate::manager) struct Dict {
    values: BTreeMap<Vec<u8>, Stored>,
    bytes: u64,
}

impl Dict {
    /// The number of values, and their bytes.
    pub(super) fn extent(&self) -> (u64, u64) {
        (self.values.len() as u64, self.bytes)
    }

    pub(super) fn attempt(&mut self, call: &mut Call<Stored>) -> Attempt {
        match call {
            Call::Look(key) => Attempt::reply(Reply::Found(self.values.get(key).cloned())),
            Call::Insert { key, value, replace } => {
                let (key, value) = (std::mem::take(key), std::mem::take(value));
                self.insert(key, value, *replace)
            }
            Call::Remove(key) => {
                let removed = self.values.remove(key);
                if let Some(value) = &removed {
                    self.bytes -= key.len() as u64 + size(value);
                }
                Attempt::reply(Reply::Found(removed))
            }
            Call::Has(key) => Attempt::reply(Reply::Flag(self.values.contains_key(key))),
            Call::PopLast => {
                let popped = self.values.pop_last();
                if let Some((key, value)) = &popped {
                    self.bytes -= key.len() as u64 + size(value);
                }
                Attempt::reply(Reply::Entries(popped.into_iter().collect()))
            }
            Call::Size => Attempt::reply(Reply::Size(self.values.len() as u64, None)),
            Call::Keys => Attempt::reply(Reply::Keys(self.values.keys().cloned().collect())),
            Call::All => {
                let entries = self.values.iter().map(|(key, value)| (key.clone(), value.clone()));
                Attempt::reply(Reply::Entries(entries.collect()))
            }
            Call::Clear => {
                self.values.clear();
                self.bytes = 0;
                Attempt::reply(Reply::Done)
            }
            _ => Attempt::Never(ObjectError::WrongKind),
        }
    }

    /// Sets a key's value, unless it has one and `replace` is false. The reply is the value that the key had.
    fn insert(&mut self, key: Vec<u8>, value: Stored, replace: bool) -> Attempt {
        let before = self.values.get(&key);
        if before.is_some() && !replace {
            return Attempt::reply(Reply::Found(before.cloned()));
        }
        let entry = key.len() as u64;
        let freed = before.map_or(0, |before| entry + size(before));
        let bytes = self.bytes - freed + entry + size(&value);
        if bytes > MAX_BYTES {
            return Attempt::Never(ObjectError::Quota(format!("{MAX_BYTES} bytes in one object")));
        }
        self.bytes = bytes;
        Attempt::reply(Reply::Found(self.values.insert(key, value)))
    }
}

/// A list, an array or a single value: values by index. Only a list grows and shrinks.
#[derive(Debug)]
pub(in crate::manager) struct Sequence {
    grows: bool,
    values: Vec<Stored>,
    bytes: u64,
    /// Grows with each call that may change something.
    revision: u64,
}

impl Sequence {
    pub(super) fn new(grows: bool, values: Vec<Stored>) -> Self {
        let bytes = values.iter().map(size).sum();
        Self { grows, values, bytes, revision: 0 }
    }

    /// The number of the values between two indices, and about how many bytes they have.
    pub(super) fn extent(&self, from: i64, to: i64) -> (u64, u64) {
        let values = self.bounds(from, to).len() as u64;
        let average = self.bytes / (self.values.len() as u64).max(1);
        (values, values * average)
    }

    pub(super) fn attempt(&mut self, call: &mut Call<Stored>) -> Attempt {
        let resizes = matches!(
            call,
            Call::Extend(_) | Call::InsertAt(..) | Call::RemoveAt(_) | Call::Clear | Call::Splice { .. }
        );
        if resizes && !self.grows {
            return Attempt::Never(ObjectError::WrongKind);
        }
        let changes = resizes || matches!(call, Call::SetAt(..) | Call::Swap { .. });
        match self.done(call) {
            Ok(reply) => {
                // A call that is refused changes nothing, and keeps nobody from sorting.
                self.revision += u64::from(changes);
                Attempt::reply(reply)
            }
            Err(error) => Attempt::Never(error),
        }
    }

    fn done(&mut self, call: &mut Call<Stored>) -> Result<Reply<Stored>, ObjectError> {
        match call {
            Call::At(at) => self.index(*at).map(|index| Reply::Found(Some(self.values[index].clone()))),
            Call::SetAt(at, value) => self.set(*at, value),
            Call::Swap { at, expected, value } => self.swap(*at, expected, value),
            Call::Extend(values) => self.extend(std::mem::take(values)),
            Call::InsertAt(at, value) => self.insert(*at, std::mem::take(value)),
            Call::RemoveAt(at) => self.index(*at).map(|index| {
                let removed = self.values.remove(index);
                self.bytes -= size(&removed);
                Reply::Found(Some(removed))
            }),
            Call::All => Ok(Reply::Items(self.values.clone(), false)),
            Call::Slice { from, to } => {
                Ok(Reply::Items(self.values[self.bounds(*from, *to)].to_vec(), false))
            }
            Call::Splice { from, to, values } => self.splice(*from, *to, std::mem::take(values)),
            Call::Find { value, from } => {
                let from = self.bounds(*from, i64::MAX).start;
                let found = self.values[from..].iter().position(|item| item.bytes == *value);
                found.map(|at| Reply::Number((from + at) as u64)).ok_or(ObjectError::NotFound)
            }
            Call::Count(value) => {
                Ok(Reply::Number(self.values.iter().filter(|item| item.bytes == *value).count() as u64))
            }
            Call::Revision => Ok(Reply::Number(self.revision)),
            Call::Reorder { revision, order } => self.reorder(*revision, order).map(Reply::Flag),
            Call::Size => Ok(Reply::Size(self.values.len() as u64, None)),
            Call::Clear => {
                self.values.clear();
                self.bytes = 0;
                Ok(Reply::Done)
            }
            _ => Err(ObjectError::WrongKind),
        }
    }

    /// Returns the indices from `from` up to `to`, as Python's slices understand them.
    fn bounds(&self, from: i64, to: i64) -> std::ops::Range<usize> {
        let len = self.values.len();
        let index = |at: i64| {
            let distance = usize::try_from(at.unsigned_abs()).unwrap_or(usize::MAX);
            if at < 0 { len.saturating_sub(distance) } else { distance.min(len) }
        };
        let from = index(from);
        from..index(to).max(from)
    }

    fn splice(&mut self, from: i64, to: i64, values: Vec<Stored>) -> Result<Reply<Stored>, ObjectError> {
        let range = self.bounds(from, to);
        let freed = self.values[range.clone()].iter().map(size).sum();
        self.make_room(freed, values.iter().map(size).sum())?;
        self.values.splice(range, values);
        Ok(Reply::Done)
    }

    /// Puts the values into another order. Returns false if they have changed since `revision`.
    fn reorder(&mut self, revision: u64, order: &[u32]) -> Result<bool, ObjectError> {
        if revision != self.revision {
            return Ok(false);
        }
        let bad = || ObjectError::BadValue("an order has each index once".to_owned());
        if order.len() != self.values.len() {
            return Err(bad());
        }
        let mut seen = vec![false; order.len()];
        for index in order {
            let place = seen.get_mut(*index as usize).ok_or_else(bad)?;
            if std::mem::replace(place, true) {
                return Err(bad());
            }
        }
        let mut values: Vec<Option<Stored>> =
            std::mem::take(&mut self.values).into_iter().map(Some).collect();
        self.values = order.iter().filter_map(|index| values[*index as usize].take()).collect();
        self.revision += 1;
        Ok(true)
    }

    /// Returns the index that `at` stands for. A negative one counts from the end.
    fn index(&self, at: i64) -> Result<usize, ObjectError> {
        let len = i64::try_from(self.values.len()).map_err(|_| ObjectError::NotFound)?;
        let index = if at < 0 { at.saturating_add(len) } else { at };
        usize::try_from(index).ok().filter(|index| *index < self.values.len()).ok_or(ObjectError::NotFound)
    }

    /// Accounts for `added` bytes in place of `freed` ones, if they are within the limit.
    fn make_room(&mut self, freed: u64, added: u64) -> Result<(), ObjectError> {
        let bytes = (self.bytes - freed).saturating_add(added);
        if bytes > MAX_BYTES {
            return Err(ObjectError::Quota(format!("{MAX_BYTES} bytes in one object")));
        }
        self.bytes = bytes;
        Ok(())
    }

    fn set(&mut self, at: i64, value: &mut Stored) -> Result<Reply<Stored>, ObjectError> {
        let index = self.index(at)?;
        self.make_room(size(&self.values[index]), size(value))?;
        Ok(Reply::Found(Some(std::mem::replace(&mut self.values[index], std::mem::take(value)))))
    }

    fn swap(&mut self, at: i64, expected: &[u8], value: &mut Stored) -> Result<Reply<Stored>, ObjectError> {
        let index = self.index(at)?;
        if self.values[index].bytes == expected { self.set(at, value) } else { Ok(Reply::Found(None)) }
    }

    fn extend(&mut self, values: Vec<Stored>) -> Result<Reply<Stored>, ObjectError> {
        self.make_room(0, values.iter().map(size).sum())?;
        self.values.extend(values);
        Ok(Reply::Done)
    }

    /// Inserts a value before index `at`. An index beyond either end means that end, as in Python.
    fn insert(&mut self, at: i64, value: Stored) -> Result<Reply<Stored>, ObjectError> {
        let len = i64::try_from(self.values.len()).map_err(|_| ObjectError::NotFound)?;
        let index = if at < 0 { at.saturating_add(len).max(0) } else { at.min(len) };
        self.make_room(0, size(&value))?;
        self.values.insert(usize::try_from(index).map_err(|_| ObjectError::NotFound)?, value);
        Ok(Reply::Done)
    }
}
