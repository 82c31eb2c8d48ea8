//! A queue: values in the order in which they were put, each taken by one owner.

use std::collections::{HashMap, VecDeque};

use wpool_abi::object::{Call, ObjectError, Reply};

use super::attempt::{Attempt, WaitState};
use crate::manager::grant::{MAX_BYTES, Owner, Stored};

/// The bytes of values that tasks together may have taken and not worked off; beyond it a `put` waits.
const MAX_TAKEN: u64 = 4 * MAX_BYTES;

/// A value, and whether a task that failed has taken it before.
#[derive(Debug, Clone)]
struct QueuedValue {
    value: Stored,
    redelivered: bool,
}

#[derive(Debug)]
pub(in crate::manager) struct Queue {
    /// The number of values that fit; `None` is bounded by their bytes alone.
    capacity: Option<u64>,
    values: VecDeque<QueuedValue>,
    /// The size of `values`.
    bytes: u64,
    closed: bool,
    /// The number of values that were put and not worked off.
    unfinished: u64,
    /// The values that each task has taken and not worked off. They return when the task fails. `None` if this queue
    /// does not requeue.
    taken: Option<HashMap<Owner, Taken>>,
    /// The size of the values in `taken`.
    taken_bytes: u64,
}

/// The values that one task has taken, oldest first, and their size.
#[derive(Debug, Default)]
struct Taken {
    values: VecDeque<QueuedValue>,
    bytes: u64,
}

impl Taken {
    /// Adds values, and returns their size.
    fn add(&mut self, values: &[QueuedValue]) -> u64 {
        let added = values.iter().map(|queued| size(&queued.value)).sum::<u64>();
        self.bytes += added;
        self.values.extend(values.iter().cloned());
        added
    }

    /// Removes the oldest `count` values, which are worked off, and returns their size.
    fn remove_oldest(&mut self, count: usize) -> u64 {
        let removed = self.values.drain(..count.min(self.values.len()));
        let removed = removed.map(|queued| size(&queued.value)).sum();
        self.bytes -= removed;
        removed
    }

    /// Removes the newest `count` values, which did not reach the task, and returns their size.
    fn remove_newest(&mut self, count: usize) -> u64 {
        let removed = self.values.drain(self.values.len().saturating_sub(count)..);
        let removed = removed.map(|queued| size(&queued.value)).sum();
        self.bytes -= removed;
        removed
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
            taken_bytes: 0,
        }
    }

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_held_by(&self, owner: Owner) -> bool {
        self.taken.as_ref().is_some_and(|taken| taken.contains_key(&owner))
    }

    /// Ends an owner. Without `success` its values return to the queue, and the next owner learns that they were
    /// delivered before.
    pub(super) fn end_owner(&mut self, owner: Owner, success: bool) {
        let held = self.taken.as_mut().and_then(|taken| taken.remove(&owner)).unwrap_or_default();
        self.taken_bytes -= held.bytes;
        if !success {
            let values = held.values.into_iter().map(|queued| queued.value);
            self.put_in_front(values.collect(), true);
        }
    }

    /// Takes back the values that an owner took last: they did not reach it.
    pub(super) fn give_back(&mut self, owner: Owner, values: Vec<Stored>, redelivered: bool) {
        if let Some(taken) = self.taken.as_mut().and_then(|taken| taken.get_mut(&owner)) {
            self.taken_bytes -= taken.remove_newest(values.len());
        }
        self.put_in_front(values, redelivered);
    }

    fn put_in_front(&mut self, values: Vec<Stored>, redelivered: bool) {
        for value in values.into_iter().rev() {
            self.bytes += size(&value);
            self.values.push_front(QueuedValue { value, redelivered });
        }
    }

    pub(super) fn attempt(
        &mut self,
        owner: Owner,
        call: &mut Call<Stored>,
        state: &mut WaitState,
    ) -> Attempt {
        match call {
            Call::Put(values) => self.put(values, &mut state.put),
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
                    self.taken_bytes -= taken.remove_oldest(*count as usize);
                }
                Attempt::reply(Reply::Done)
            }
            Call::Join if self.unfinished > 0 => Attempt::Wait(ObjectError::TimedOut),
            Call::Join => Attempt::reply(Reply::Done),
            _ => Attempt::Never(ObjectError::WrongKind),
        }
    }

    /// Moves as many values as fit from the call into the queue, after the first `put`. Those stay as empty values: to
    /// move the others up each time would take time for every one of them.
    fn put(&mut self, values: &mut [Stored], put: &mut usize) -> Attempt {
        if self.closed {
            return Attempt::Never(ObjectError::Closed);
        }
        while let Some(value) = values.get_mut(*put)
            && self.put_one(value)
        {
            *put += 1;
        }
        if *put >= values.len() { Attempt::reply(Reply::Done) } else { Attempt::Wait(ObjectError::Full) }
    }

    /// Moves one value into the queue. Returns whether there was room. A value of any size fits into an empty queue.
    fn put_one(&mut self, value: &mut Stored) -> bool {
        let full = self.capacity.is_some_and(|capacity| self.values.len() as u64 >= capacity);
        // Values that tasks have taken come back if the tasks fail, so they are kept.
        let kept = self.taken_bytes.saturating_add(size(value)) <= MAX_TAKEN || self.taken_bytes == 0;
        let fits =
            !full && kept && (self.values.is_empty() || self.bytes.saturating_add(size(value)) <= MAX_BYTES);
        if fits {
            self.bytes += size(value);
            self.unfinished += 1;
            self.values.push_back(QueuedValue { value: std::mem::take(value), redelivered: false });
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
            let error = format!("a task may have {MAX_BYTES} bytes that it has taken without a `task_done`");
            return Attempt::Never(ObjectError::Quota(error));
        }
        let count = self.values.len().min(most.max(1) as usize);
        let values: Vec<QueuedValue> = self.values.drain(..count).collect();
        self.bytes -= values.iter().map(|queued| size(&queued.value)).sum::<u64>();
        // The host does not fail, so a copy of its values would never be used.
        if let (Some(taken), Owner::Task(_)) = (&mut self.taken, owner) {
            self.taken_bytes += taken.entry(owner).or_default().add(&values);
        }
        let redelivered = values.iter().any(|queued| queued.redelivered);
        Attempt::reply(Reply::Items(values.into_iter().map(|queued| queued.value).collect(), redelivered))
    }
}

/// Returns the size of a value for the limit of an object: its bytes, and the memory that keeps them.
pub(super) fn size(value: &Stored) -> u64 {
    const VALUE: u64 = 64;
    const HANDLE: u64 = 16;
    value.bytes.len() as u64 + VALUE + HANDLE * value.handles.len() as u64
}
