//! The dispatcher under a clock of the test's own: stories by subject, then random runs with invariants.

mod assignment;
mod cancellation;
mod deadlines;
mod guests;
mod model;
mod retries;
mod scaling;
mod subtasks;

use std::time::Duration;

use proptest::prelude::ProptestConfig;

use super::event::Recall;
use super::expiry::GRACE;
use super::probing::PROBE;
use super::*;
use crate::error::{Clock, Phase, TaskError, WorkerExit};
use crate::ids::{GuestKey, JobId, TaskId, WorkerId};

const TIMEOUT: Duration = Duration::from_secs(1);
const CRASH: WorkerExit = WorkerExit::Signal { signal: 11, by_pool: false };
const OUTSIDE: WorkerExit = WorkerExit::Signal { signal: 9, by_pool: false };
const BY_POOL: WorkerExit = WorkerExit::Signal { signal: 9, by_pool: true };
const HOME: GuestKey = GuestKey(0);
const OTHER: GuestKey = GuestKey(1);

/// A dispatcher, its clock, and the actions of the last event.
struct Bench {
    dispatcher: Dispatcher,
    now: Instant,
    actions: Vec<Action>,
}

/// A constant number of workers.
fn fixed(workers: u16) -> Settings {
    Settings { min: workers, max: workers, idle: None, max_tasks: None, max_age: None, max_memory: None }
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let mut bench =
            Self { dispatcher: Dispatcher::new(settings), now: Instant::now(), actions: Vec::new() };
        bench.handle(Event::Load { guest: HOME, weight: 1, depth: 0 });
        bench
    }

    /// A bench whose workers are all ready.
    fn ready(workers: u16) -> Self {
        let mut bench = Self::new(fixed(workers));
        for slot in 0..workers {
            bench.handle(Event::WorkerReady(worker(slot, 1)));
        }
        bench
    }

    fn handle(&mut self, event: Event) -> &[Action] {
        self.actions.clear();
        self.dispatcher.handle(event, self.now, &mut self.actions);
        &self.actions
    }

    fn submit(&mut self, first: u64, count: u32) -> &[Action] {
        self.handle(Event::Submitted(range(first, count)))
    }

    fn done(&mut self, slot: u16, task: u64, run: Duration) -> &[Action] {
        self.handle(Event::Done { worker: worker(slot, 1), tasks: vec![(TaskId(task), run)] })
    }

    fn exited(
        &mut self,
        worker: WorkerId,
        exit: WorkerExit,
        begun: &[u64],
        running: Option<u64>,
    ) -> &[Action] {
        let begun = begun.iter().map(|&task| TaskId(task)).collect();
        let running = running.map(TaskId);
        self.handle(Event::WorkerExited { worker, exit, begun, running, message: None })
    }
}

fn worker(slot: u16, generation: u32) -> WorkerId {
    WorkerId { slot, generation }
}

pub(super) fn range(first: u64, count: u32) -> Range {
    Range {
        first: TaskId(first),
        count,
        job: JobId(1),
        index: first,
        guest: HOME,
        function: 0,
        policy: TaskPolicy { run_timeout: Some(TIMEOUT), max_retries: 2, ..TaskPolicy::default() },
        history: RetryHistory::default(),
    }
}

fn of(guest: GuestKey, range: Range) -> Range {
    Range { guest, ..range }
}

fn spawned(actions: &[Action]) -> Vec<(WorkerId, GuestKey)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Spawn { worker, guest } => Some((*worker, *guest)),
            _ => None,
        })
        .collect()
}

/// First task and number of tasks of each range that was sent to a worker.
fn sent(actions: &[Action], to: WorkerId) -> Vec<(u64, u32)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Send { worker, range, .. } if *worker == to => Some((range.first.0, range.count)),
            _ => None,
        })
        .collect()
}

fn failed(actions: &[Action]) -> Vec<(u64, &TaskError)> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Fail { range, error } => Some((range.first.0, error)),
            _ => None,
        })
        .collect()
}

trait DebugText {
    fn to_vec_debug(&self) -> String;
}

impl DebugText for [Action] {
    fn to_vec_debug(&self) -> String {
        format!("{self:?}")
    }
}

/// The number of cases of a property test, unless PROPTEST_CASES says otherwise.
fn cases(default: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(default),
    }
}
