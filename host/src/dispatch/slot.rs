//! The pool's slots, and the state of the worker in each.

use std::time::Instant;

use super::flight::Flight;
use super::range::Range;
use crate::ids::{GuestKey, TaskId};

/// A slot for one worker.
#[derive(Debug)]
pub(super) enum Slot {
    Vacant,
    /// The worker's process was started, and has not answered yet.
    Starting(Box<WorkerState>),
    Ready(Box<WorkerState>),
    /// The worker's connection is closed or it was killed, and its exit is awaited.
    Ending(Box<WorkerState>),
}

impl Slot {
    pub(super) fn worker(&self) -> Option<&WorkerState> {
        match self {
            Slot::Vacant => None,
            Slot::Starting(state) | Slot::Ready(state) | Slot::Ending(state) => Some(state),
        }
    }

    pub(super) fn worker_mut(&mut self) -> Option<&mut WorkerState> {
        match self {
            Slot::Vacant => None,
            Slot::Starting(state) | Slot::Ready(state) | Slot::Ending(state) => Some(state),
        }
    }

    pub(super) fn ready(&self) -> Option<&WorkerState> {
        match self {
            Slot::Ready(state) => Some(state),
            Slot::Vacant | Slot::Starting(_) | Slot::Ending(_) => None,
        }
    }

    pub(super) fn ready_mut(&mut self) -> Option<&mut WorkerState> {
        match self {
            Slot::Ready(state) => Some(state),
            Slot::Vacant | Slot::Starting(_) | Slot::Ending(_) => None,
        }
    }

    pub(super) fn is_vacant(&self) -> bool {
        matches!(self, Slot::Vacant)
    }

    pub(super) fn is_starting_for(&self, guest: GuestKey) -> bool {
        matches!(self, Slot::Starting(state) if state.guest == guest)
    }
}

/// The state of the worker in a slot.
#[derive(Debug)]
pub(super) struct WorkerState {
    pub(super) guest: GuestKey,
    pub(super) flight: Flight,
    /// The worker is reserved for a crash suspect, which runs alone so that a crash can be attributed to it.
    pub(super) exclusive: bool,
    /// The worker gets no more tasks, and is stopped when it has none left.
    pub(super) retiring: bool,
    /// The slice at the latest probe, and since when it has been the same.
    pub(super) slice: Option<(u64, Instant)>,
    /// The task because of which the worker was killed: it did not end in time.
    pub(super) stuck: Option<TaskId>,
    /// Whether tasks were recalled since the worker's tasks last changed. Another recall would find the same.
    pub(super) steal_requested: bool,
    /// The tasks that were recalled to end them, as long as the answer is awaited.
    pub(super) to_end: Vec<TaskId>,
    /// How many tasks the worker was sent, without those that were taken back.
    pub(super) sent: u32,
    /// Whether any task has ended here.
    pub(super) worked: bool,
    pub(super) started_at: Instant,
    /// Since when the worker has had no task, if it has none.
    pub(super) idle_since: Instant,
    /// Since when none of its tasks has ended.
    pub(super) quiet_since: Instant,
}

impl WorkerState {
    /// Whether the worker has, or has had, a task.
    pub(super) fn is_used(&self) -> bool {
        self.worked || self.flight.len() > 0
    }

    pub(super) fn new(guest: GuestKey, now: Instant) -> Self {
        Self {
            guest,
            flight: Flight::new(),
            exclusive: false,
            retiring: false,
            slice: None,
            stuck: None,
            steal_requested: false,
            to_end: Vec::new(),
            sent: 0,
            worked: false,
            started_at: now,
            idle_since: now,
            quiet_since: now,
        }
    }

    pub(super) fn add(&mut self, range: Range, claim: u32, now: Instant) {
        if self.flight.active() == 0 {
            self.quiet_since = now;
        }
        self.flight.add(range, claim);
        self.sent = self.sent.saturating_add(range.count);
        self.steal_requested = false;
    }
}
