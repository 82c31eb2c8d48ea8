//! A barrier: calls wait until a round is complete, and pass together.

use std::collections::{BTreeSet, HashMap};

use wpool_abi::object::{Call, ObjectError, Reply};

use super::attempt::{Attempt, WaitState};
use crate::manager::grant::Stored;

/// A barrier for `parties` calls a round. A call that ends before its round is complete breaks it for the others.
#[derive(Debug)]
pub(in crate::manager) struct Barrier {
    parties: u32,
    /// Whether the host runs an action when a round is complete.
    acts: bool,
    /// The id of the call that arrived last.
    last_id: u64,
    /// The ids of the calls that wait, in the order of arrival. The first `parties` of them are the current round.
    inside: Vec<u64>,
    /// The calls that may pass, and the index that each had in its round.
    passing: HashMap<u64, u64>,
    /// The calls that were inside when the barrier broke.
    failed: BTreeSet<u64>,
    broken: bool,
    round: u64,
    action: Action,
}

/// The state of the action of the current round.
#[derive(Debug, PartialEq)]
enum Action {
    /// The round is not complete, or the barrier has no action.
    None,
    /// The round is complete, and the host was not told to run the action yet.
    Pending,
    Running,
}

impl Barrier {
    pub(super) fn new(parties: u32, acts: bool) -> Self {
        Self {
            parties,
            acts,
            last_id: 0,
            inside: Vec::new(),
            passing: HashMap::new(),
            failed: BTreeSet::new(),
            broken: false,
            round: 0,
            action: Action::None,
        }
    }

    pub(super) fn attempt(&mut self, call: &Call<Stored>, state: &mut WaitState) -> Attempt {
        match call {
            Call::Wait => self.wait(state),
            Call::Abort => {
                self.break_round();
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

    fn wait(&mut self, state: &mut WaitState) -> Attempt {
        let id = match state.id {
            Some(id) => id,
            None if self.broken => return Attempt::Never(ObjectError::Broken),
            None => self.arrive(state),
        };
        if self.failed.remove(&id) {
            return Attempt::Never(ObjectError::Broken);
        }
        match self.passing.remove(&id) {
            Some(index) => Attempt::reply(Reply::Number(index)),
            None => Attempt::Wait(ObjectError::TimedOut),
        }
    }

    fn arrive(&mut self, state: &mut WaitState) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.inside.push(id);
        state.id = Some(id);
        self.complete_round();
        id
    }

    /// Lets a complete round pass, or asks for its action first. Calls that arrive during the action belong to the next
    /// round.
    fn complete_round(&mut self) {
        if self.action != Action::None || self.inside.len() < self.parties as usize {
            return;
        }
        if self.acts {
            self.action = Action::Pending;
        } else {
            self.pass();
        }
    }

    fn pass(&mut self) {
        self.passing.extend(self.inside.drain(..self.parties as usize).zip(0..));
        self.next_round();
        self.complete_round();
    }

    fn next_round(&mut self) {
        self.round += 1;
        // An action that runs is waited for: each round that is reset meanwhile would start one more.
        if self.action != Action::Running {
            self.action = Action::None;
        }
    }

    fn break_round(&mut self) {
        self.broken = true;
        self.fail_inside();
    }

    /// Fails all calls inside. An action that runs meanwhile is of a past round then, and its end has no effect.
    fn fail_inside(&mut self) {
        self.failed.extend(self.inside.drain(..));
        self.next_round();
    }

    pub(super) fn take_pending_action(&mut self) -> Option<u64> {
        if self.action != Action::Pending {
            return None;
        }
        self.action = Action::Running;
        Some(self.round)
    }

    pub(super) fn end_action(&mut self, round: u64, success: bool) {
        if self.action != Action::Running {
            return;
        }
        self.action = Action::None;
        match success {
            _ if self.round != round => self.complete_round(),
            true => self.pass(),
            false => self.break_round(),
        }
    }

    /// Forgets a call. One that was still inside breaks the barrier for the others.
    pub(super) fn abandon(&mut self, state: &WaitState) {
        let Some(id) = state.id else { return };
        if self.inside.contains(&id) {
            self.inside.retain(|other| *other != id);
            self.break_round();
        }
        self.failed.remove(&id);
        self.passing.remove(&id);
    }
}
