//! A queue: values in the order in which they were put, taken by one each.

use std::collections::{HashMap, VecDeque};

use wpool_abi::object::{Call, ObjectError, Reply};

use super::Attempt;
use crate::manager::grant::{MAX_BYTES, Owner, Stored};

/// A value, and whether it was delivered before to somebody who failed.
#[derive(Debug, Clone)]
struct Entry {
    value: Stored,
    again: bool,
}

#[derive(Debug)]
pub(in crate::manager) struct Queue {
    capacity: Option<u64>,
    values: VecDeque<Entry>,
    bytes: u64,
    closed: bool,
    /// Values that were put and not worked off.
    unfinished: u64,
    /// What each task has taken and not worked off, if that comes back when the task fails.
    taken: Option<HashMap<Owner, Taken>>,
}

/// Values on loan, and what they cost.
#[derive(Debug, Default)]
struct Taken {
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl Taken {
    fn add(&mut self, entries: &[Entry]) {
        self.bytes += entries.iter().map(|entry| size(&entry.value)).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    /// The oldest of them are worked off.
    fn done(&mut self, count: usize) {
        for entry in self.entries.drain(..count.min(self.entries.len())) {
            self.bytes -= size(&entry.value);
        }
    }
}

impl Queue {
    pub(super) fn new(capacity: Option<u64>, requeue: bool) -> Self {
        Self {
            capacity,
            values: VecDeque::new(),
            bytes: 0,
            closed: false,
            unfinished: 0,
            taken: requeue.then(HashMap::new),
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_held_by(&self, owner: Owner) -> bool {
        self.taken.as_ref().is_some_and(|taken| taken.contains_key(&owner))
    }

    /// Who has failed gives back what it took; the next one who takes it is told.
    pub(super) fn owner_ended(&mut self, owner: Owner, success: bool) {
        let held = self.taken.as_mut().and_then(|taken| taken.remove(&owner)).unwrap_or_default();
        if !success {
            let values = held.entries.into_iter().map(|entry| entry.value);
            self.give_back(values.collect(), true);
        }
    }

    /// Values that were taken are the next ones again.
    pub(super) fn give_back(&mut self, values: Vec<Stored>, again: bool) {
        for value in values.into_iter().rev() {
            self.bytes += size(&value);
            self.values.push_front(Entry { value, again });
        }
    }

    pub(super) fn attempt(&mut self, owner: Owner, call: &mut Call<Stored>) -> Attempt {
        match call {
            Call::Put(values) => self.put(values),
            Call::Get(most) => self.get(owner, *most),
            Call::Poll if self.values.is_empty() && !self.closed => Attempt::Wait(ObjectError::Empty),
            Call::Poll => Attempt::flag(true),
            Call::Size if self.closed && self.values.is_empty() => Attempt::Never(ObjectError::Closed),
            Call::Size => Attempt::reply(Reply::Size(self.values.len() as u64, self.capacity)),
            Call::Close => {
                self.closed = true;
                Attempt::reply(Reply::Done)
            }
            Call::TaskDone(count) if u64::from(*count) > self.unfinished => {
                Attempt::Never(ObjectError::TooOften)
            }
            Call::TaskDone(count) => {
                self.unfinished -= u64::from(*count);
                if let Some(taken) = self.taken.as_mut().and_then(|taken| taken.get_mut(&owner)) {
                    taken.done(*count as usize);
                }
                Attempt::reply(Reply::Done)
            }
            Call::Join if self.unfinished > 0 => Attempt::Wait(ObjectError::TimedOut),
            Call::Join => Attempt::reply(Reply::Done),
            _ => Attempt::Never(ObjectError::WrongKind),
        }
    }

    /// Puts as many values in as fit, and takes those out of the call.
    fn put(&mut self, values: &mut Vec<Stored>) -> Attempt {
        if self.closed {
            return Attempt::Never(ObjectError::Closed);
        }
        let fits = values.iter_mut().position(|value| !self.take_in(value)).unwrap_or(values.len());
        drop(values.drain(..fits));
        if values.is_empty() { Attempt::reply(Reply::Done) } else { Attempt::Wait(ObjectError::Full) }
    }

    /// Takes a value in, if there is room.
    fn take_in(&mut self, value: &mut Stored) -> bool {
        let full = self.capacity.is_some_and(|capacity| self.values.len() as u64 >= capacity);
        let fits = !full && (self.values.is_empty() || self.bytes.saturating_add(size(value)) <= MAX_BYTES);
        if fits {
            self.bytes += size(value);
            self.unfinished += 1;
            self.values.push_back(Entry { value: std::mem::take(value), again: false });
        }
        fits
    }

    fn get(&mut self, owner: Owner, most: u32) -> Attempt {
        if self.values.is_empty() {
            return if self.closed {
                Attempt::Never(ObjectError::Closed)
            } else {
                Attempt::Wait(ObjectError::Empty)
            };
        }
        if self
            .taken
            .as_ref()
            .and_then(|taken| taken.get(&owner))
            .is_some_and(|taken| taken.bytes > MAX_BYTES)
        {
            let error =
                format!("a task may have {MAX_BYTES} bytes that it has taken and not told to be done");
            return Attempt::Never(ObjectError::Quota(error));
        }
        let count = self.values.len().min(most.max(1) as usize);
        let entries: Vec<Entry> = self.values.drain(..count).collect();
        self.bytes -= entries.iter().map(|entry| size(&entry.value)).sum::<u64>();
        // The host does not fail: nothing would ever come back from it.
        if let (Some(taken), Owner::Task(_)) = (&mut self.taken, owner) {
            taken.entry(owner).or_default().add(&entries);
        }
        let again = entries.iter().any(|entry| entry.again);
        Attempt::reply(Reply::Items(entries.into_iter().map(|entry| entry.value).collect(), again))
    }
}

/// What a value costs: its bytes, and what keeps them.
pub(super) fn size(value: &Stored) -> u64 {
    const VALUE: u64 = 64;
    const HANDLE: u64 = 16;
    value.bytes.len() as u64 + VALUE + HANDLE * value.handles.len() as u64
}
