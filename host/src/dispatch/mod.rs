//! Every decision of a pool, and no effect: which worker runs what, who runs again, who is to blame.
//!
//! `handle(event, now, actions)` is all there is. No clock, thread, socket or process id is used here, so
//! every ordering that a pool can meet is a test without processes. The driver tells what happened and
//! does what the actions say.

mod breaker;
mod deadlines;
mod flight;
mod losses;
mod range;
mod sharing;
mod staffing;
pub(crate) mod subtasks;
mod tenant;
mod waiting;

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::error::{TaskError, WorkerExit};
use crate::ids::{GuestKey, JobId, TaskId, WorkerId};

use self::deadlines::Deadlines;
pub(crate) use self::range::{Past, Range, TaskPolicy};
use self::staffing::{Serving, Slot};
use self::tenant::Tenant;
use self::waiting::Kind;

/// What can happen to a pool.
#[derive(Debug)]
pub(crate) enum Event {
    /// A guest may be given tasks from now on. Of two guests with work, one of twice the weight gets twice the
    /// time. Its tasks may have sub-tasks down to this depth.
    Load { guest: GuestKey, weight: u32, depth: u8 },
    /// No more tasks of this guest will come; what is there is finished, and its workers go.
    Unload(GuestKey),
    /// Tasks were submitted.
    Submitted(Range),
    /// A worker's process could not be started.
    SpawnFailed { worker: WorkerId, message: String },
    /// A worker has answered the hello.
    WorkerReady(WorkerId),
    /// A worker says that tasks have ended, and how long each ran.
    Done { worker: WorkerId, tasks: Vec<(TaskId, Duration)> },
    /// A worker says that a task waits for something, and others may run meanwhile.
    Suspended { worker: WorkerId, task: TaskId },
    /// A worker says that a task has gone on that waited for something.
    Resumed { worker: WorkerId, task: TaskId },
    /// A task has done something that others can see, so it cannot run again as if it had not.
    Acted { worker: WorkerId, task: TaskId },
    /// The answer to [`Action::Recall`]: those that could be taken back.
    Recalled { worker: WorkerId, taken: Vec<TaskId>, why: Recall },
    /// The answer to [`Action::Probe`].
    Probed { worker: WorkerId, seen: Probe },
    /// A worker's process is gone. `begun` is what its control page said of the tasks that it had, and
    /// `running` which one it ran: a hint, no more.
    WorkerExited {
        worker: WorkerId,
        exit: WorkerExit,
        begun: Vec<TaskId>,
        running: Option<TaskId>,
        message: Option<String>,
    },
    /// Somebody does not want a task any more, unless it has begun.
    Cancel(TaskId),
    /// Nobody waits for the rest of a job any more.
    CancelJob(JobId),
    /// Nobody waits for anything any more that has not begun.
    CancelPending,
    /// Somebody does not want a task any more, whatever it does.
    Kill(TaskId),
    /// From now on there are so many workers at most.
    Resize { max: u16 },
    /// No more tasks will come; what is there is finished.
    Close,
    /// Everything ends now.
    Terminate,
    /// The time that `next_deadline` named has come.
    Tick,
}

/// What a look at a worker has shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    /// Which task runs.
    pub(crate) running: Option<TaskId>,
    /// A number that changes whenever that does.
    pub(crate) slice: u64,
    /// Whether any of its tasks has begun.
    pub(crate) begun: bool,
    /// Its memory, in bytes; none if nobody wanted to know.
    pub(crate) resident: Option<u64>,
}

/// What the driver is to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Start a worker's process.
    Spawn { worker: WorkerId, guest: GuestKey },
    /// Mark a range as offered in the control page, from this claim word on, and send it.
    Send { worker: WorkerId, range: Range, claim: u32 },
    /// Try to take tasks back, by their claim words, and report which could be.
    Recall { worker: WorkerId, tasks: Vec<(TaskId, u32)>, why: Recall },
    /// Tell a worker to end a task that has begun.
    EndTask { worker: WorkerId, task: TaskId, claim: u32 },
    /// Look which task a worker is running, and report it.
    Probe(WorkerId),
    /// Send SIGKILL.
    Kill(WorkerId),
    /// Close the connection; the worker exits by itself.
    Stop(WorkerId),
    /// The task that was named as the `nth` of the event has ended: its outcome goes to its owner.
    Complete { nth: usize, end: TaskEnd },
    /// Tasks end without an outcome from a worker.
    Fail { range: Range, error: TaskError },
    /// A guest that was unloaded has no task and no worker any more.
    Unloaded(GuestKey),
    /// A worker said something that it could not honestly say.
    Violation { worker: WorkerId, what: &'static str },
}

/// What the dispatcher knows of a task's end, beside its outcome.
#[derive(Debug, PartialEq)]
pub(crate) struct TaskEnd {
    pub(crate) task: TaskId,
    pub(crate) job: JobId,
    /// The index of the task in its job.
    pub(crate) index: u64,
    pub(crate) worker: WorkerId,
    /// The number of times that it was started.
    pub(crate) attempts: u32,
    /// How long it was allowed to run.
    pub(crate) run_timeout: Option<Duration>,
    /// Why it was told to end, if it was.
    pub(crate) reason: Option<TaskError>,
}

/// Why a task is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recall {
    /// Its owner does not want it any more.
    Cancel,
    /// Another worker has nothing to do, or this one is to go.
    Steal,
    /// It did not begin in time.
    Late,
    /// It is to end; if it has begun, it is told to.
    End,
}

/// What a pool is set to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// So many workers are kept, also when there is nothing to do.
    pub(crate) min: u16,
    /// There are never more than so many.
    pub(crate) max: u16,
    /// A worker that has had nothing to do for so long goes.
    pub(crate) idle: Option<Duration>,
    /// A worker goes after so many tasks.
    pub(crate) max_tasks: Option<u32>,
    /// A worker that is so old goes when it has done what it has.
    pub(crate) max_age: Option<Duration>,
    /// A worker whose memory has grown beyond this goes when it has done what it has.
    pub(crate) max_memory: Option<u64>,
}

/// What the pool does with new tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Mode {
    Open,
    /// Finishing what is there.
    Closing,
    Terminated,
}

/// The pool's whole state, as far as decisions need it.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    settings: Settings,
    mode: Mode,
    guests: BTreeMap<GuestKey, Tenant>,
    slots: Vec<Slot>,
    generations: Vec<u32>,
    deadlines: Deadlines,
    /// How workers ended that were running a task that has not ended since.
    evidence: HashMap<TaskId, Vec<WorkerExit>>,
}

impl Dispatcher {
    pub(crate) fn new(settings: Settings) -> Self {
        let places = usize::from(settings.max);
        Self {
            settings,
            mode: Mode::Open,
            guests: BTreeMap::new(),
            slots: (0..places).map(|_| Slot::Vacant).collect(),
            generations: vec![0; places],
            deadlines: Deadlines::default(),
            evidence: HashMap::new(),
        }
    }

    /// Takes in what happened, and appends what is to be done.
    pub(crate) fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        // These come with every task, and most of them change nothing in who is there.
        let routine = matches!(event, Event::Submitted(_) | Event::Done { .. });
        match event {
            Event::Load { guest, weight, depth } => self.load(guest, weight, depth),
            Event::Unload(guest) => self.unload(guest),
            Event::Submitted(range) => self.submitted(range, now, actions),
            Event::SpawnFailed { worker, message } => self.start_failed(worker, message, now, actions),
            Event::WorkerReady(worker) => self.worker_ready(worker, now, actions),
            Event::Done { worker, tasks } => self.done(worker, &tasks, now, actions),
            Event::Suspended { worker, task } => self.suspended(worker, task, actions),
            Event::Resumed { worker, task } => self.resumed(worker, task),
            Event::Acted { worker, task } => self.acted(worker, task),
            Event::Recalled { worker, taken, why } => self.recalled(worker, &taken, why, now, actions),
            Event::Probed { worker, seen } => self.probed(worker, seen, now, actions),
            Event::WorkerExited { worker, exit, begun, running, message } => {
                self.worker_exited(worker, losses::Exit { exit, begun, running, message }, now, actions);
            }
            Event::Cancel(task) => self.cancel(task, actions),
            Event::CancelJob(job) => self.cancel_where(|range| range.job == job, actions),
            Event::CancelPending => self.cancel_where(|_| true, actions),
            Event::Kill(task) => self.kill(task, now, actions),
            Event::Resize { max } => self.resize(max),
            Event::Close => self.mode = self.mode.max(Mode::Closing),
            Event::Terminate => self.terminate(actions),
            Event::Tick => self.tick(now, actions),
        }
        self.share_out(now, actions);
        if !routine || self.may_need_staff() {
            self.staff(now, actions);
        }
        self.schedule_probe(now);
    }

    /// Whether workers are probed for their memory.
    pub(crate) fn watches_memory(&self) -> bool {
        self.settings.max_memory.is_some()
    }

    /// When `Tick` is due, if ever.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_staffing().into_iter().chain(self.deadlines.next()).min()
    }

    /// How many tasks wait, not counting those on their way to a worker.
    pub(crate) fn queued(&self) -> usize {
        self.guests.values().map(|tenant| tenant.waiting.len()).sum()
    }

    /// Whether this guest could use a task now and there is none: a worker has room, or one would be started.
    pub(crate) fn is_hungry(&self, guest: GuestKey) -> bool {
        let Some(tenant) = self.guests.get(&guest) else { return false };
        self.mode == Mode::Open
            && tenant.waiting.is_empty()
            && (self.could_start(guest)
                || self
                    .ready()
                    .any(|(_, serving)| serving.guest == guest && self.room(serving, Kind::default()) > 0))
    }

    /// Whether everything has ended and every worker is gone.
    pub(crate) fn is_finished(&self) -> bool {
        self.mode != Mode::Open
            && self.queued() == 0
            && self.slots.iter().all(|slot| matches!(slot, Slot::Vacant))
    }

    /// Workers that are ready, tasks that are on their way or running.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let in_flight = self.ready().map(|(_, serving)| serving.flight.len() as usize).sum();
        (self.ready().count(), in_flight)
    }

    /// The tasks that a worker has, with their claim words.
    pub(crate) fn tasks_of(&self, worker: WorkerId) -> impl Iterator<Item = (TaskId, u32)> {
        let place = usize::from(worker.slot);
        let current = self.generations.get(place) == Some(&worker.generation);
        let serving = self.slots.get(place).filter(|_| current).and_then(Slot::serving);
        serving.into_iter().flat_map(|serving| serving.flight.tasks().map(|(task, claim, _)| (task, claim)))
    }

    /// A task that a worker has: its claim word, and what it is part of.
    pub(crate) fn task_of(&self, worker: WorkerId, task: TaskId) -> Option<(u32, Range)> {
        let place = usize::from(worker.slot);
        let current = self.generations.get(place) == Some(&worker.generation);
        let flight = &self.slots.get(place).filter(|_| current)?.serving()?.flight;
        Some((flight.claim_of(task)?, *flight.range_of(task)?))
    }

    /// The worker that has a task, and the task's claim word.
    pub(crate) fn holder(&self, task: TaskId) -> Option<(WorkerId, u32)> {
        self.serving_all().find_map(|(worker, serving)| Some((worker, serving.flight.claim_of(task)?)))
    }

    fn submitted(&mut self, range: Range, now: Instant, actions: &mut Vec<Action>) {
        // What was submitted before ends as it would, and its sub-tasks are a part of it.
        let takes = |tenant: &&mut Tenant| !tenant.leaving || range.policy.depth > 0;
        let Some(tenant) = self.guests.get_mut(&range.guest).filter(takes) else {
            actions.push(Action::Fail { range, error: TaskError::GuestUnloaded });
            return;
        };
        if self.mode == Mode::Terminated {
            actions.push(Action::Fail { range, error: TaskError::PoolClosed });
            return;
        }
        if tenant.waiting.is_empty() {
            // Who had nothing to do has saved nothing up by that.
            let least =
                self.guests.values().filter(|tenant| !tenant.waiting.is_empty()).map(Tenant::used).min();
            let tenant = self.guests.get_mut(&range.guest).expect("it was there a line above");
            tenant.catch_up(least);
        }
        self.deadlines.watch(&range);
        self.wait(range);
        self.fail_fast(range.guest, now, actions);
    }

    /// Puts tasks where those wait that no worker has.
    fn wait(&mut self, range: Range) {
        let tenant = self.guests.get_mut(&range.guest).expect("a guest stays until its tasks have ended");
        tenant.waiting.add(range);
    }

    fn done(
        &mut self,
        worker: WorkerId,
        tasks: &[(TaskId, Duration)],
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        for (nth, &(task, run)) in tasks.iter().enumerate() {
            let Some(serving) = self.serving(worker) else { return };
            let Some((_, range)) = serving.flight.remove(task) else {
                actions.push(Action::Violation { worker, what: "it ended a task that it does not have" });
                return;
            };
            serving.exclusive = false;
            serving.asked = false;
            serving.worked = true;
            serving.quiet_since = now;
            if serving.flight.len() == 0 {
                serving.idle_since = now;
            }
            let reason = self.deadlines.ended(task);
            if range.past.deaths > 0 {
                self.evidence.remove(&task);
            }
            let attempts = range.past.begun() + 1;
            let (job, index, run_timeout) = (range.job, range.index, range.policy.run_timeout);
            let end = TaskEnd { task, job, index, worker, attempts, run_timeout, reason };
            actions.push(Action::Complete { nth, end });
            if let Some(tenant) = self.guests.get_mut(&range.guest) {
                tenant.measure(range.function, run);
                tenant.breaker.worked();
            }
        }
    }

    fn suspended(&mut self, worker: WorkerId, task: TaskId, actions: &mut Vec<Action>) {
        let Some(serving) = self.serving(worker) else { return };
        if !serving.flight.suspend(task) {
            actions.push(Action::Violation { worker, what: "it suspended a task that it does not have" });
        }
    }

    fn resumed(&mut self, worker: WorkerId, task: TaskId) {
        if let Some(serving) = self.serving(worker) {
            serving.flight.resume(task);
        }
    }

    fn acted(&mut self, worker: WorkerId, task: TaskId) {
        if let Some(serving) = self.serving(worker) {
            serving.flight.mark_acted(task);
        }
    }

    fn recalled(
        &mut self,
        worker: WorkerId,
        taken: &[TaskId],
        why: Recall,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(serving) = self.serving(worker) else { return };
        serving.asked &= taken.is_empty();
        serving.sent = serving.sent.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        let ranges = taken.iter().filter_map(|&task| serving.flight.remove(task).map(|(_, range)| range));
        let ranges = Range::joined(ranges);
        serving.exclusive &= serving.flight.len() > 0;
        if serving.flight.len() == 0 {
            serving.idle_since = now;
        }
        match why {
            Recall::Cancel => actions.extend(ranges.into_iter().map(cancelled)),
            Recall::Steal => ranges.into_iter().for_each(|range| self.wait(range)),
            Recall::Late => actions.extend(ranges.into_iter().map(deadlines::late)),
            Recall::End => self.end_the_rest(worker, ranges, now, actions),
        }
    }

    fn cancel(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        if let Some(range) = self.guests.values_mut().find_map(|tenant| tenant.waiting.remove(task)) {
            actions.push(cancelled(range));
        } else if let Some((worker, claim)) = self.holder_ready(task) {
            actions.push(Action::Recall { worker, tasks: vec![(task, claim)], why: Recall::Cancel });
        }
    }

    fn holder_ready(&self, task: TaskId) -> Option<(WorkerId, u32)> {
        self.ready().find_map(|(worker, serving)| Some((worker, serving.flight.claim_of(task)?)))
    }

    fn cancel_where(&mut self, unwanted: impl Fn(&Range) -> bool, actions: &mut Vec<Action>) {
        for tenant in self.guests.values_mut() {
            actions.extend(tenant.waiting.remove_where(&unwanted).into_iter().map(cancelled));
        }
        for (worker, serving) in self.ready() {
            let tasks = serving.flight.tasks().filter(|(_, _, range)| unwanted(range));
            let tasks: Vec<_> = tasks.map(|(task, claim, _)| (task, claim)).collect();
            if !tasks.is_empty() {
                actions.push(Action::Recall { worker, tasks, why: Recall::Cancel });
            }
        }
    }

    fn terminate(&mut self, actions: &mut Vec<Action>) {
        self.mode = Mode::Terminated;
        let fail = |range| Action::Fail { range, error: TaskError::PoolClosed };
        for tenant in self.guests.values_mut() {
            actions.extend(tenant.waiting.drain().into_iter().map(fail));
        }
        for place in 0..self.slots.len() {
            let worker = self.id(place);
            if let Some(serving) = self.slots[place].serving_mut() {
                actions.extend(serving.flight.drain().into_iter().map(fail));
            }
            if !matches!(self.slots[place], Slot::Vacant) {
                actions.push(Action::Kill(worker));
                self.end(place);
            }
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.expire(now, actions);
        self.end_by_force(now, actions);
        self.probe(now, actions);
        self.retire_old(now);
    }

    fn ready(&self) -> impl Iterator<Item = (WorkerId, &Serving)> {
        self.slots.iter().enumerate().filter_map(|(place, slot)| match slot {
            Slot::Ready(serving) => Some((self.id(place), &**serving)),
            _ => None,
        })
    }

    fn serving_all(&self) -> impl Iterator<Item = (WorkerId, &Serving)> {
        let all = self.slots.iter().enumerate();
        all.filter_map(|(place, slot)| slot.serving().map(|serving| (self.id(place), serving)))
    }

    fn id(&self, place: usize) -> WorkerId {
        let slot = u16::try_from(place).expect("a pool has as many places as a u16 can count");
        WorkerId { slot, generation: self.generations[place] }
    }

    /// The slot of this very incarnation; news of an earlier one reach nobody.
    fn slot(&mut self, worker: WorkerId) -> Option<&mut Slot> {
        let place = usize::from(worker.slot);
        (self.generations.get(place) == Some(&worker.generation)).then(|| &mut self.slots[place])
    }

    fn serving(&mut self, worker: WorkerId) -> Option<&mut Serving> {
        match self.slot(worker)? {
            Slot::Ready(serving) => Some(serving),
            _ => None,
        }
    }
}

fn cancelled(range: Range) -> Action {
    Action::Fail { range, error: TaskError::Cancelled }
}

#[cfg(test)]
mod tests;
