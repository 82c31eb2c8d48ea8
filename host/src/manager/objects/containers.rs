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
}

impl Sequence {
    pub(super) fn new(grows: bool, values: Vec<Stored>) -> Self {
        let bytes = values.iter().map(size).sum();
        Self { grows, values, bytes }
    }

    pub(super) fn attempt(&mut self, call: &mut Call<Stored>) -> Attempt {
        let grows = matches!(call, Call::Extend(_) | Call::InsertAt(..) | Call::RemoveAt(_) | Call::Clear);
        if grows && !self.grows {
            return Attempt::Never(ObjectError::WrongKind);
        }
        let done = match call {
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
            Call::Size => Ok(Reply::Size(self.values.len() as u64, None)),
            Call::Clear => {
                self.values.clear();
                self.bytes = 0;
                Ok(Reply::Done)
            }
            _ => Err(ObjectError::WrongKind),
        };
        match done {
            Ok(reply) => Attempt::reply(reply),
            Err(error) => Attempt::Never(error),
        }
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
