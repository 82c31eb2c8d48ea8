//! What tasks hold and wait with: locks, semaphores, conditions, events, barriers.

use std::collections::{BTreeSet, HashMap, VecDeque};

use wpool_abi::object::{Call, ObjectError, Reply};

use super::{Attempt, Memo};
use crate::manager::grant::{Owner, Stored};

/// Held by one owner at a time; if it is reentrant, several times over.
#[derive(Debug, Default)]
pub(in crate::manager) struct Lock {
    reentrant: bool,
    held: Option<(Owner, u64)>,
    /// Who held it last has failed.
    poisoned: bool,
}

impl Lock {
    pub(super) fn new(reentrant: bool) -> Self {
        Self { reentrant, ..Self::default() }
    }

    pub(super) fn holder(&self) -> Option<Owner> {
        self.held.map(|(owner, _)| owner)
    }

    pub(super) fn owner_ended(&mut self, owner: Owner, success: bool) {
        if self.holder() == Some(owner) {
            self.held = None;
            self.poisoned |= !success;
        }
    }

    /// Takes it for the owner. The reply says whether it is poisoned.
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

/// Held by so many at a time. Anybody may release it, as in Python.
#[derive(Debug)]
pub(in crate::manager) struct Semaphore {
    count: u64,
    /// There are never more.
    bound: Option<u64>,
    holders: HashMap<Owner, u64>,
}

impl Semaphore {
    pub(super) fn new(count: u64, bounded: bool) -> Self {
        Self { count, bound: bounded.then_some(count), holders: HashMap::new() }
    }

    pub(super) fn is_held_by(&self, owner: Owner) -> bool {
        self.holders.contains_key(&owner)
    }

    pub(super) fn owner_ended(&mut self, owner: Owner) {
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

/// A reentrant lock, and waiting for news: who waits lets go of the lock, and has it again when it goes on.
#[derive(Debug)]
pub(in crate::manager) struct Condition {
    lock: Lock,
    next: u64,
    /// Who waits, by number, and how often they held the lock.
    asleep: VecDeque<(u64, u64)>,
    /// Who was woken, or whose time is over, and needs the lock.
    awake: HashMap<u64, u64>,
}

impl Default for Condition {
    fn default() -> Self {
        Self { lock: Lock::new(true), next: 0, asleep: VecDeque::new(), awake: HashMap::new() }
    }
}

impl Condition {
    pub(super) fn holder(&self) -> Option<Owner> {
        self.lock.holder()
    }

    pub(super) fn owner_ended(&mut self, owner: Owner, success: bool) {
        self.lock.owner_ended(owner, success);
    }

    pub(super) fn gave_up(&mut self, memo: &Memo) {
        let Some(number) = memo.number else { return };
        self.asleep.retain(|(other, _)| *other != number);
        // The news that it was woken with is for the next.
        if self.awake.remove(&number).is_some() && !memo.late {
            self.awake.extend(self.asleep.pop_front());
        }
    }

    /// Who waits in vain wakes up all the same, and needs the lock.
    pub(super) fn comes_back(&mut self, memo: &mut Memo) -> bool {
        let Some(number) = memo.number else { return false };
        if let Some(place) = self.asleep.iter().position(|(other, _)| *other == number) {
            self.awake.extend(self.asleep.remove(place));
            memo.late = true;
        }
        true
    }

    pub(super) fn attempt(&mut self, owner: Owner, call: &Call<Stored>, memo: &mut Memo) -> Attempt {
        match call {
            Call::Wait => self.wait(owner, memo),
            Call::Notify(_) if self.lock.holder() != Some(owner) => Attempt::Never(ObjectError::NotHeld),
            Call::Notify(most) => {
                let woken = self.asleep.len().min(*most as usize);
                self.awake.extend(self.asleep.drain(..woken));
                Attempt::reply(Reply::Number(woken as u64))
            }
            call => self.lock.attempt(owner, call),
        }
    }

    fn wait(&mut self, owner: Owner, memo: &mut Memo) -> Attempt {
        let Some(number) = memo.number else {
            let Some((_, times)) = self.lock.held.filter(|(holder, _)| *holder == owner) else {
                return Attempt::Never(ObjectError::NotHeld);
            };
            self.lock.held = None;
            self.next += 1;
            memo.number = Some(self.next);
            self.asleep.push_back((self.next, times));
            return Attempt::Wait(ObjectError::TimedOut);
        };
        match self.awake.get(&number).copied() {
            Some(times) if self.lock.held.is_none() => {
                self.awake.remove(&number);
                self.lock.held = Some((owner, times));
                Attempt::flag(!memo.late)
            }
            _ => Attempt::Wait(ObjectError::TimedOut),
        }
    }
}

/// Set or not.
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

/// Passed by so many together, again and again. Who waits in vain breaks it for all.
#[derive(Debug)]
pub(in crate::manager) struct Barrier {
    parties: u32,
    next: u64,
    /// Who has come, in this order.
    inside: Vec<u64>,
    /// Who may go, and which place each had.
    free: HashMap<u64, u64>,
    /// Who was inside when it broke.
    failed: BTreeSet<u64>,
    broken: bool,
    /// Whether the host does something when all have come, and in which round it is now.
    acts: bool,
    round: u64,
    acting: Acting,
}

/// How far the host is with what it does when all have come.
#[derive(Debug, PartialEq)]
enum Acting {
    No,
    Due,
    Now,
}

impl Barrier {
    pub(super) fn new(parties: u32, acts: bool) -> Self {
        Self {
            parties,
            next: 0,
            inside: Vec::new(),
            free: HashMap::new(),
            failed: BTreeSet::new(),
            broken: false,
            acts,
            round: 0,
            acting: Acting::No,
        }
    }

    fn fail_inside(&mut self) {
        self.failed.extend(self.inside.drain(..));
        // What the host may be doing is for nobody.
        self.next_round();
    }

    fn next_round(&mut self) {
        self.round += 1;
        self.acting = Acting::No;
    }

    /// If all have come, they go, or the host does something first. Whoever comes meanwhile is of the next round.
    fn look(&mut self) {
        if self.acting != Acting::No || self.inside.len() < self.parties as usize {
            return;
        }
        if self.acts {
            self.acting = Acting::Due;
        } else {
            self.let_go();
        }
    }

    fn let_go(&mut self) {
        self.free.extend(self.inside.drain(..self.parties as usize).zip(0..));
        self.next_round();
        self.look();
    }

    pub(super) fn take_due(&mut self) -> Option<u64> {
        if self.acting != Acting::Due {
            return None;
        }
        self.acting = Acting::Now;
        Some(self.round)
    }

    pub(super) fn acted(&mut self, round: u64, success: bool) {
        if self.round != round || self.acting != Acting::Now {
            return;
        }
        if success {
            self.let_go();
        } else {
            self.broken = true;
            self.fail_inside();
        }
    }

    /// Who goes away without the others breaks it for them.
    pub(super) fn gave_up(&mut self, memo: &Memo) {
        let Some(number) = memo.number else { return };
        if self.inside.contains(&number) {
            self.inside.retain(|other| *other != number);
            self.broken = true;
            self.fail_inside();
        }
        self.failed.remove(&number);
        self.free.remove(&number);
    }

    pub(super) fn attempt(&mut self, call: &Call<Stored>, memo: &mut Memo) -> Attempt {
        match call {
            Call::Wait => self.wait(memo),
            Call::Abort => {
                self.broken = true;
                self.fail_inside();
                Attempt::reply(Reply::Done)
            }
            Call::Reset => {
                self.fail_inside();
                self.broken = false;
                Attempt::reply(Reply::Done)
            }
            Call::State => Attempt::flag(self.broken),
            Call::Size => Attempt::reply(Reply::Size(self.inside.len() as u64, Some(self.parties.into()))),
            _ => Attempt::Never(ObjectError::WrongKind),
        }
    }

    fn wait(&mut self, memo: &mut Memo) -> Attempt {
        let number = match memo.number {
            Some(number) => number,
            None if self.broken => return Attempt::Never(ObjectError::Broken),
            None => {
                self.next += 1;
                self.inside.push(self.next);
                memo.number = Some(self.next);
                self.look();
                memo.number.unwrap_or(self.next)
            }
        };
        if self.failed.remove(&number) {
            return Attempt::Never(ObjectError::Broken);
        }
        match self.free.remove(&number) {
            Some(place) => Attempt::reply(Reply::Number(place)),
            None => Attempt::Wait(ObjectError::TimedOut),
        }
    }
}
