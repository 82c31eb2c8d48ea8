//! The state on which the dispatcher decides, with its lookups and the records that go with a task.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::deadlines::Deadlines;
use super::event::Action;
use super::guest_queue::GuestQueue;
use super::range::Range;
use super::slot::{Slot, WorkerState};
use crate::error::{TaskError, WorkerExit};
use crate::ids::{GuestKey, TaskId, WorkerId};

/// The settings of a pool.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The number of workers that are kept when there is nothing to do.
    pub(crate) min: u16,
    /// The maximum number of workers.
    pub(crate) max: u16,
    /// A worker beyond `min` is stopped after this time without a task; `None`: never.
    pub(crate) idle: Option<Duration>,
    /// A worker is replaced after this number of tasks; `None`: never.
    pub(crate) max_tasks: Option<u32>,
    /// A worker of this age gets no more tasks; `None`: at any age.
    pub(crate) max_age: Option<Duration>,
    /// A worker with more memory than this, in bytes, gets no more tasks; `None`: with any.
    pub(crate) max_memory: Option<u64>,
}

/// How the pool treats new tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Open,
    /// Tasks that are there are finished.
    Closing,
    Terminated,
}

/// The state of a pool, as far as decisions depend on it.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    pub(super) settings: Settings,
    pub(super) mode: Mode,
    pub(super) guests: BTreeMap<GuestKey, GuestQueue>,
    pub(super) slots: Vec<Slot>,
    /// How many workers each slot has had.
    pub(super) generations: Vec<u32>,
    pub(super) deadlines: Deadlines,
    /// The exits of workers that were running a task which has not ended since.
    pub(super) earlier_exits: HashMap<TaskId, Vec<WorkerExit>>,
}

impl Dispatcher {
    pub(crate) fn new(settings: Settings) -> Self {
        let slots = usize::from(settings.max);
        Self {
            settings,
            mode: Mode::Open,
            guests: BTreeMap::new(),
            slots: (0..slots).map(|_| Slot::Vacant).collect(),
            generations: vec![0; slots],
            deadlines: Deadlines::default(),
            earlier_exits: HashMap::new(),
        }
    }

    pub(super) fn close(&mut self) {
        self.mode = self.mode.max(Mode::Closing);
    }

    /// Whether probes report the memory of workers.
    pub(crate) fn watches_memory(&self) -> bool {
        self.settings.max_memory.is_some()
    }

    /// The number of tasks that wait and are held back.
    pub(crate) fn held(&self) -> usize {
        self.guests.values().map(|guest| guest.waiting.held()).sum()
    }

    /// The number of tasks that wait, without those in flight.
    pub(crate) fn queued(&self) -> usize {
        self.guests.values().map(|guest| guest.waiting.len()).sum()
    }

    /// Whether every task has ended and every worker has exited.
    pub(crate) fn is_finished(&self) -> bool {
        self.mode != Mode::Open && self.queued() == 0 && self.slots.iter().all(Slot::is_vacant)
    }

    /// The number of workers that are ready, and the number of tasks that they have.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let in_flight = self.ready().map(|(_, state)| state.flight.len() as usize).sum();
        (self.ready().count(), in_flight)
    }

    /// The tasks that a worker has, with their claim words.
    pub(crate) fn tasks_of(&self, worker: WorkerId) -> impl Iterator<Item = (TaskId, u32)> {
        let state = self.worker(worker).into_iter();
        state.flat_map(|state| state.flight.tasks().map(|(task, claim, _)| (task, claim)))
    }

    /// The claim word and the range of a task that a worker has.
    pub(crate) fn task_of(&self, worker: WorkerId, task: TaskId) -> Option<(u32, Range)> {
        let flight = &self.worker(worker)?.flight;
        Some((flight.claim_of(task)?, *flight.range_of(task)?))
    }

    /// The worker that has a task, and the task's claim word.
    pub(crate) fn holder(&self, task: TaskId) -> Option<(WorkerId, u32)> {
        let mut workers = self.workers();
        workers.find_map(|(index, state)| Some((self.worker_id(index), state.flight.claim_of(task)?)))
    }

    /// As [`holder`](Self::holder), if that worker is ready.
    pub(super) fn ready_holder(&self, task: TaskId) -> Option<(WorkerId, u32)> {
        self.holder(task).filter(|(worker, _)| self.slots[usize::from(worker.slot)].ready().is_some())
    }

    /// The workers in whatever state, by the indices of their slots.
    pub(super) fn workers(&self) -> impl Iterator<Item = (usize, &WorkerState)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.worker()?)))
    }

    /// The workers that are ready, by the indices of their slots.
    pub(super) fn ready(&self) -> impl Iterator<Item = (usize, &WorkerState)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.ready()?)))
    }

    /// The ready workers of one guest.
    pub(super) fn ready_for(&self, guest: GuestKey) -> impl Iterator<Item = (usize, &WorkerState)> {
        self.ready().filter(move |(_, state)| state.guest == guest)
    }

    /// The id of the latest worker of a slot.
    pub(super) fn worker_id(&self, index: usize) -> WorkerId {
        let slot = u16::try_from(index).expect("a u16 counts the slots of a pool");
        WorkerId { slot, generation: self.generations[index] }
    }

    /// The state of a worker. `None` if its slot has had another one since: news of earlier workers have no effect.
    fn worker(&self, worker: WorkerId) -> Option<&WorkerState> {
        let index = usize::from(worker.slot);
        self.slots.get(index).filter(|_| self.generations[index] == worker.generation)?.worker()
    }

    /// The slot of a worker. `None` if the slot has had another worker since.
    pub(super) fn slot_mut(&mut self, worker: WorkerId) -> Option<&mut Slot> {
        let index = usize::from(worker.slot);
        self.slots.get_mut(index).filter(|_| self.generations[index] == worker.generation)
    }

    /// The state of a worker that is ready.
    pub(super) fn ready_mut(&mut self, worker: WorkerId) -> Option<&mut WorkerState> {
        self.slot_mut(worker)?.ready_mut()
    }

    /// Whether a worker has been sent as many tasks as it may run.
    pub(super) fn is_used_up(&self, state: &WorkerState) -> bool {
        self.settings.max_tasks.is_some_and(|max| state.sent >= max)
    }

    /// Has tasks wait for a worker.
    pub(super) fn enqueue(&mut self, range: Range) {
        let guest = self.guests.get_mut(&range.guest).expect("a guest stays until its tasks have ended");
        guest.waiting.add(range);
    }

    /// Ends tasks without an outcome from a worker.
    pub(super) fn fail(&mut self, range: Range, error: TaskError, actions: &mut Vec<Action>) {
        self.forget(&range);
        actions.push(Action::Fail { range, error });
    }

    /// Removes the records of tasks that have ended.
    pub(super) fn forget(&mut self, range: &Range) {
        self.deadlines.remove(range);
        if range.history.lost_while_running > 0 {
            range.tasks().for_each(|task| drop(self.earlier_exits.remove(&task)));
        }
    }
}
