//! Objects that owners hold or wait for: locks, semaphores, conditions and events.

use std::collections::{HashMap, VecDeque};

use wpool_abi::object::{Call, ObjectError, Reply};

use super::attempt::{Attempt, WaitState};
use crate::manager::grant::{Owner, Stored};

/// A lock: held by one owner at a time, and by that owner several times over if it is reentrant.
#[derive(Debug, Default)]
pub(in crate::manager) struct Lock {
    reentrant: bool,
    /// The holder, and the number of releases until the lock is free.
    held: Option<(Owner, u64)>,
    /// A holder failed, and no owner has cleared the mark since.
    poisoned: bool,
}

impl Lock {
    pub(super) fn new(reentrant: bool) -> Self {
        Self { reentrant, ..Self::default() }
    }

    pub(super) fn holder(&self) -> Option<Owner> {
        self.held.map(|(owner, _)| owner)
    }

    pub(super) fn end_owner(&mut self, owner: Owner, success: bool) {
        if self.holder() == Some(owner) {
            self.held = None;
            self.poisoned |= !success;
        }
    }

    /// Takes the lock. The reply is whether it is poisoned.
    fn acquire(&mut self, owner: Owner) -> Attempt {
        match &mut self.held {
            None => self.held = Some((owner, 1)),
            Some((holder, times)) if self.reentrant && *holder == owner => *times += 1,
            Some(_) => return Attempt::Wait(ObjectError::Held),
        }
        Attempt::flag(self.poisoned)
    }

    fn release(&mut self, owner: Owner, count: u32) -> Attempt {
        match &mut self.held {
            Some((holder, times)) if *holder == owner && u64::from(count) <= *times => {
                *times -= u64::from(count);
                if *times == 0 {
                    self.held = None;
                }
                Attempt::reply(Reply::Done)
            }
            _ => Attempt::Never(ObjectError::NotHeld),
        }
    }

    pub(super) fn attempt(&mut self, owner: Owner, call: &Call<Stored>) -> Attempt {
        match call {
            Call::Acquire => self.acquire(owner),
            Call::Release(count) => self.release(owner, *count),
            Call::State => Attempt::flag(self.held.is_some()),
            Call::ClearPoison if self.holder() == Some(owner) => {
                self.poisoned = false;
                Attempt::reply(Reply::Done)
            }
            Call::ClearPoison => Attempt::Never(ObjectError::NotHeld),
            _ => Attempt::Never(ObjectError::WrongKind),
        }
    }
}

/// A semaphore: a count of permits, which any owner may release, as in Python.
#[derive(Debug)]
pub(in crate::manager) struct Semaphore {
    /// The permits that are free.
    count: u64,
    /// The largest count; `None` is unbounded.
    bound: Option<u64>,
    /// The permits of each owner. They are released when the owner ends.
    holders: HashMap<Owner, u64>,
}

impl Semaphore {
    pub(super) fn new(count: u64, bounded: bool) -> Self {
        Self { count, bound: bounded.then_some(count), holders: HashMap::new() }
    }

    pub(super) fn is_held_by(&self, owner: Owner) -> bool {
        self.holders.contains_key(&owner)
    }

    pub(super) fn end_owner(&mut self, owner: Owner) {
        let held = self.holders.remove(&owner).unwrap_or(0);
        self.count = self.count.saturating_add(held);
        if let Some(bound) = self.bound {
            self.count = self.count.min(bound);
        }
    }

    pub(super) fn attempt(&mut self, owner: Owner, call: &Call<Stored>) -> Attempt {
        match call {
            Call::Acquire if self.count == 0 => Attempt::Wait(ObjectError::Held),
            Call::Acquire => {
                self.count -= 1;
                *self.holders.entry(owner).or_default() += 1;
                Attempt::flag(false)
            }
            Call::Release(times) => {
                let count = self.count.saturating_add(u64::from(*times));
                if self.bound.is_some_and(|bound| count > bound) {
                    return Attempt::Never(ObjectError::TooOften);
                }
                self.count = count;
                if let Some(held) = self.holders.get_mut(&owner) {
                    *held = held.saturating_sub(u64::from(*times));
                    if *held == 0 {
                        self.holders.remove(&owner);
                    }
                }
                Attempt::reply(Reply::Done)
            }
            Call::Disown => match self.holders.get_mut(&owner) {
                None => Attempt::Never(ObjectError::NotHeld),
                Some(held) => {
                    *held -= 1;
                    self.holders.retain(|_, held| *held > 0);
                    Attempt::reply(Reply::Done)
                }
            },
            Call::Size => Attempt::reply(Reply::Size(self.count, self.bound)),
            _ => Attempt::Never(ObjectError::WrongKind),
        }
    }
}

/// A condition: a reentrant lock, and calls that wait for a notification. A call releases the lock while it waits, and
/// holds it again when it returns.
#[derive(Debug)]
pub(in crate::manager) struct Condition {
    lock: Lock,
    /// The id of the call that waited last.
    last_id: u64,
    /// The calls without a notification yet: id, and how often the owner held the lock.
    asleep: VecDeque<(u64, u64)>,
    /// The calls that were notified or have timed out, and need the lock: how often the owner held it, by id.
    awake: HashMap<u64, u64>,
}

impl Default for Condition {
    fn default() -> Self {
        Self { lock: Lock::new(true), last_id: 0, asleep: VecDeque::new(), awake: HashMap::new() }
    }
}

impl Condition {
    pub(super) fn holder(&self) -> Option<Owner> {
        self.lock.holder()
    }

    pub(super) fn end_owner(&mut self, owner: Owner, success: bool) {
        self.lock.end_owner(owner, success);
    }

    /// Forgets a call. A notification that it was woken by goes to the next one.
    pub(super) fn abandon(&mut self, state: &WaitState) {
        let Some(id) = state.id else { return };
        self.asleep.retain(|(other, _)| *other != id);
        if self.awake.remove(&id).is_some() && !state.timed_out {
            self.awake.extend(self.asleep.pop_front());
        }
    }

    /// Wakes a call that has timed out: it returns when it holds the lock again. Returns false if it never waited.
    pub(super) fn must_reacquire(&mut self, state: &mut WaitState) -> bool {
        let Some(id) = state.id else { return false };
        if let Some(index) = self.asleep.iter().position(|(other, _)| *other == id) {
            self.awake.extend(self.asleep.remove(index));
            state.timed_out = true;
        }
        true
    }

    pub(super) fn attempt(&mut self, owner: Owner, call: &Call<Stored>, state: &mut WaitState) -> Attempt {
        match call {
            Call::Wait => self.wait(owner, state),
            Call::Notify(_) if self.lock.holder() != Some(owner) => Attempt::Never(ObjectError::NotHeld),
            Call::Notify(most) => {
                let woken = self.asleep.len().min(*most as usize);
                self.awake.extend(self.asleep.drain(..woken));
                Attempt::reply(Reply::Number(woken as u64))
            }
            call => self.lock.attempt(owner, call),
        }
    }

    fn wait(&mut self, owner: Owner, state: &mut WaitState) -> Attempt {
        let Some(id) = state.id else {
            let Some((_, times)) = self.lock.held.filter(|(holder, _)| *holder == owner) else {
                return Attempt::Never(ObjectError::NotHeld);
            };
            self.lock.held = None;
            self.last_id += 1;
            state.id = Some(self.last_id);
            self.asleep.push_back((self.last_id, times));
            return Attempt::Wait(ObjectError::TimedOut);
        };
        match self.awake.get(&id).copied() {
            Some(times) if self.lock.held.is_none() => {
                self.awake.remove(&id);
                self.lock.held = Some((owner, times));
                Attempt::flag(!state.timed_out)
            }
            _ => Attempt::Wait(ObjectError::TimedOut),
        }
    }
}

/// An event: set or not. Calls wait until it is set.
#[derive(Debug, Default)]
pub(in crate::manager) struct Event {
    set: bool,
}

impl Event {
    pub(super) fn attempt(&mut self, call: &Call<Stored>) -> Attempt {
        match call {
            Call::Flag(set) => {
                self.set = *set;
                Attempt::reply(Reply::Done)
            }
            Call::State => Attempt::flag(self.set),
            Call::Wait if self.set => Attempt::flag(true),
            Call::Wait => Attempt::Wait(ObjectError::TimedOut),
            _ => Attempt::Never(ObjectError::WrongKind),
        }
    }
}
