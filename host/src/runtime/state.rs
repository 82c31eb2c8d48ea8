//! The state of a pool, all of it under one lock: the dispatcher's decisions, and what is needed to carry them out.
//!
//! Nothing here waits, delivers or runs user code: that is left to the [`Effects`] of the turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use wpool_wire::message::{BadMessage, CallHeader, encode, handle_indices, push_bytes, to_worker};

use super::cell::emitted::EmitCell;
use super::cell::future::FutureCell;
use super::completed::{Completed, ResultGrants};
use super::effects::{Delivery, Effects};
use super::handle_table::granted;
use super::heavy::HeavyWork;
use super::jobs::{Arguments, Job, Jobs, next_tasks};
use super::link::Links;
use super::pool_guest::{PoolGuest, TaskCall};
use super::servers::Servers;
use super::sessions::Sessions;
use super::stats::Stats;
use crate::dispatch::subtasks::SubTaskTree;
use crate::dispatch::{Action, Dispatcher, Event, Probe, Range, RetryHistory, Settings, TaskEnd, TaskPolicy};
use crate::error::TaskError;
use crate::ids::{GuestKey, JobId, TaskId, WorkerId};
use crate::outcome::Ended;

/// A call frame of this many bytes is not made longer by further tasks. It may exceed that by one task's arguments.
const FRAME_SIZE: usize = 256 * 1024;

/// How long a worker may take to exit when it was told to; then it is killed. It has no task that could be lost.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// The state of a pool.
pub(crate) struct State {
    pub(super) dispatcher: Dispatcher,
    pub(super) guests: HashMap<GuestKey, Arc<PoolGuest>>,
    pub(super) links: Links,
    pub(super) jobs: Jobs,
    pub(super) subtasks: SubTaskTree,
    /// The cells for the emitted values of tasks.
    pub(super) emits: HashMap<TaskId, Arc<EmitCell>>,
    pub(super) servers: Servers,
    pub(super) sessions: Sessions,
    pub(super) effects: Effects,
    pub(super) heavy: HeavyWork,
    pub(super) lifecycle: Lifecycle,
    pub(super) stats: Stats,
    next_guest: u32,
    /// Threads that wait until the queue has room, or until the pool has started or ended.
    pub(super) waiting_for_room: usize,
    /// The `.await`s that submit when the queue has room.
    pub(super) room_wakers: Vec<Waker>,
    /// The process id of the first worker that was started.
    pub(super) first_pid: Option<u32>,
    /// The time at which the driver wakes at the latest; `None` is no limit.
    pub(super) driver_wakes_at: Option<Instant>,
}

/// The stages of a pool's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lifecycle {
    Open,
    /// It takes no more tasks; this call closed it.
    Closed(&'static str),
    /// Every task has ended, and every worker is gone.
    Finished(&'static str),
}

impl Lifecycle {
    /// The call that closed the pool.
    pub(super) fn closed_by(self) -> Option<&'static str> {
        match self {
            Lifecycle::Open => None,
            Lifecycle::Closed(by) | Lifecycle::Finished(by) => Some(by),
        }
    }
}

/// A task that its worker has reported as ended.
pub(super) struct EndedTask {
    pub(super) task: TaskId,
    pub(super) run: Duration,
    pub(super) ended: Ended,
    /// The figures and the log; the result is filled in from `ended`.
    pub(super) completed: Completed,
}

impl State {
    pub(super) fn new(settings: Settings, servers: Servers) -> Self {
        Self {
            dispatcher: Dispatcher::new(settings),
            guests: HashMap::new(),
            links: Links::default(),
            jobs: Jobs::default(),
            subtasks: SubTaskTree::default(),
            emits: HashMap::new(),
            servers,
            sessions: Sessions::default(),
            effects: Effects::default(),
            heavy: HeavyWork::default(),
            lifecycle: Lifecycle::Open,
            stats: Stats::default(),
            next_guest: 0,
            waiting_for_room: 0,
            room_wakers: Vec::new(),
            first_pid: None,
            driver_wakes_at: None,
        }
    }

    /// Adds a guest. Its tasks can be submitted from now on.
    pub(super) fn add_guest(&mut self, guest: impl FnOnce(GuestKey) -> PoolGuest) -> Arc<PoolGuest> {
        let key = GuestKey(self.next_guest);
        self.next_guest += 1;
        let guest = Arc::new(guest(key));
        self.guests.insert(key, Arc::clone(&guest));
        let depth = guest.limits.sub_tasks.map_or(0, |quota| quota.depth);
        self.handle(Event::Load { guest: key, weight: guest.weight, depth }, Instant::now());
        guest
    }

    /// Has the driver look at the clock at `deadline`.
    pub(super) fn wake_driver_by(&mut self, deadline: Option<Instant>) {
        let sooner = |at: Instant| self.driver_wakes_at.is_none_or(|known| at < known);
        self.effects.wake_driver |= deadline.is_some_and(sooner);
    }

    /// Submits one task of the host.
    pub(super) fn submit(
        &mut self,
        call: &TaskCall,
        arguments: Arguments,
        emits: Option<Arc<EmitCell>>,
    ) -> (TaskId, Arc<FutureCell>) {
        let future = Arc::new(FutureCell::default());
        let job = Job::Single { arguments, future: Arc::clone(&future), submitted: Instant::now() };
        let window = emits.as_ref().map(|cell| cell.window());
        // The dispatcher may send it at once, so its reader must be known before.
        let task = next_tasks(1);
        self.emits.extend(emits.map(|cell| (task, cell)));
        self.submit_job(task, call, job, 0, window);
        (task, future)
    }

    /// Submits a job of one task.
    pub(super) fn submit_job(
        &mut self,
        task: TaskId,
        call: &TaskCall,
        job: Job,
        depth: u8,
        emits: Option<u64>,
    ) {
        if let Some(grants) = job.grants(0) {
            self.servers.attach(grants, &mut self.effects);
        }
        let (id, now) = (self.jobs.add(job), Instant::now());
        let policy = TaskPolicy { depth, emits, ..call.policy(now) };
        self.submit_range(task, id, call, (0, 1), policy, now);
    }

    /// Submits consecutive tasks of a job: the index of the first one, and how many there are.
    fn submit_range(
        &mut self,
        first: TaskId,
        job: JobId,
        call: &TaskCall,
        (index, count): (u64, u32),
        policy: TaskPolicy,
        now: Instant,
    ) {
        let (guest, function) = (call.guest.key, call.function);
        self.stats.submitted += u64::from(count);
        let history = RetryHistory::default();
        self.handle(
            Event::Submitted(Range { first, count, job, index, guest, function, policy, history }),
            now,
        );
    }

    /// Submits what a map has gathered. If it is too late for that, those tasks end here.
    pub(super) fn publish(&mut self, job: JobId) {
        let Some(map) = self.jobs.map(job) else { return };
        let Some(inputs) = map.take_pending() else { return };
        let (first, count, now) = (inputs.first, inputs.ends.len(), Instant::now());
        if map.complete {
            let error =
                if self.lifecycle == Lifecycle::Open { TaskError::Cancelled } else { TaskError::PoolClosed };
            for index in first..first + count as u64 {
                let late = Completed::failed(error.clone());
                self.effects.deliveries.push(Delivery::Map(Arc::clone(&map.cell), index, late));
            }
            return;
        }
        for grants in &inputs.grants {
            self.servers.attach(grants, &mut self.effects);
        }
        map.publish(inputs, now);
        let mut policy = map.call.policy(now);
        policy.end_by = [policy.end_by, map.end_by].into_iter().flatten().min();
        let (call, count) = (map.call.clone(), u32::try_from(count).expect("a batch is small"));
        self.submit_range(next_tasks(count), job, &call, (first, count), policy, now);
    }

    /// Publishes what maps have gathered, as long as a worker could use a task.
    pub(super) fn feed_workers(&mut self) {
        while self.jobs.any_map() {
            let wanting = |guest: &GuestKey| self.dispatcher.wants_tasks(*guest);
            let wanting: Vec<GuestKey> = self.guests.keys().copied().filter(wanting).collect();
            match self.jobs.next_to_publish(&wanting) {
                Some(job) => self.publish(job),
                None => return,
            }
        }
    }

    /// Tasks have ended in a worker.
    pub(super) fn done(&mut self, worker: WorkerId, ended: Vec<EndedTask>) {
        let tasks = ended.iter().map(|ended| (ended.task, ended.run)).collect();
        let mut ended: Vec<Option<EndedTask>> = ended.into_iter().map(Some).collect();
        self.run(Event::Done { worker, tasks }, &mut ended, Instant::now());
    }

    /// The handles in the value of a task.
    pub(super) fn result_grants(
        &self,
        worker: WorkerId,
        task: TaskId,
        handles: &[u8],
    ) -> Result<ResultGrants, BadMessage> {
        self.sessions.resolve(worker, task, handle_indices(handles)).map(ResultGrants::from)
    }

    /// Has the dispatcher decide, and does what it says.
    pub(super) fn handle(&mut self, event: Event, now: Instant) {
        self.run(event, &mut [], now);
    }

    /// As [`handle`](Self::handle), for an event that comes with the outcomes of tasks.
    fn run(&mut self, event: Event, ended: &mut [Option<EndedTask>], now: Instant) {
        let (mut next, mut actions) = (Some(event), Vec::new());
        while let Some(event) = next {
            self.dispatcher.handle(event, now, &mut actions);
            for action in actions.drain(..) {
                self.perform(action, ended, now);
            }
            next = self.effects.follow_ups.pop_front();
        }
        self.effects.wake_driver |= self.dispatcher.is_finished();
        self.wake_driver_by(self.dispatcher.next_deadline());
    }

    fn perform(&mut self, action: Action, ended: &mut [Option<EndedTask>], now: Instant) {
        match action {
            Action::Spawn { worker, guest } => {
                self.effects.spawns.push((worker, guest));
                self.effects.wake_driver = true;
            }
            Action::Send { worker, range, claim } => self.send(worker, range, claim),
            Action::Recall { worker, tasks, why } => {
                let Some(link) = self.links.get(worker) else { return };
                let taken = tasks.into_iter().filter(|&(task, claim)| link.control.recall(claim, task));
                let taken = taken.map(|(task, _)| task).collect();
                self.effects.follow_up(Event::Recalled { worker, taken, why });
            }
            Action::Probe(worker) => {
                if let Some(seen) = self.probe(worker) {
                    self.effects.follow_up(Event::Probed { worker, seen });
                }
            }
            Action::EndTask { worker, task, claim } => {
                if self.links.get(worker).is_some_and(|link| link.control.request_end(claim, task)) {
                    self.links.send(worker, to_worker::END, |out| encode(&task, out));
                }
            }
            Action::Unloaded(guest) => drop(self.guests.remove(&guest)),
            Action::Kill(worker) => self.links.kill(worker),
            Action::Stop(worker) => {
                self.links.stop(worker, now + STOP_TIMEOUT);
                self.wake_driver_by(Some(now + STOP_TIMEOUT));
            }
            Action::Complete { nth, end } => {
                if let Some(ended) = ended.get_mut(nth).and_then(Option::take) {
                    self.complete(ended, end, now);
                }
            }
            Action::Fail { range, error } => self.fail(range, &error, now),
            Action::Violation { worker, what } => self.violated(worker, what.to_owned()),
        }
    }

    /// Looks at a worker through its control page.
    fn probe(&self, worker: WorkerId) -> Option<Probe> {
        let link = self.links.get(worker)?;
        let (running, slice) = link.control.running();
        let tasks = self.dispatcher.tasks_of(worker);
        let mut begun = tasks.filter(|(task, claim)| link.control.has_started(*claim, *task)).peekable();
        let has_begun = begun.peek().is_some();
        let asleep = begun.map(|(task, _)| task).find(|task| !self.waits_for_parent(*task));
        let waits = has_begun && asleep.is_none();
        let resident = if self.dispatcher.watches_memory() { link.resident() } else { None };
        Some(Probe { running, slice, waits, asleep, resident })
    }

    /// Whether a task can go on only when this process, a sub-task or a reader has done something.
    fn waits_for_parent(&self, task: TaskId) -> bool {
        self.sessions.awaits_answer(task)
            || self.subtasks.awaits(task)
            || self.emits.get(&task).is_some_and(|cell| cell.is_full())
    }

    /// A worker broke the protocol: it is killed. Frames that it sent before are still checked one by one.
    pub(super) fn violated(&mut self, worker: WorkerId, what: String) {
        if let Some(link) = self.links.get_mut(worker) {
            tracing::error!(%worker, what, "a worker broke the protocol");
            link.violated(what);
        }
    }

    /// A task has ended in a worker, and the dispatcher says what it was.
    fn complete(&mut self, ended: EndedTask, end: TaskEnd, now: Instant) {
        let EndedTask { task, ended, mut completed, .. } = ended;
        completed.result = ended.result(end.run_timeout, end.reason);
        if let Err(TaskError::Guest(error)) = &mut completed.result {
            let guest = self.guests.get(&end.guest);
            error.fingerprint =
                guest.and_then(|guest| guest.guest.tasks().get(end.function as usize)?.error_fingerprint());
        }
        (completed.figures.worker, completed.figures.pid) = (Some(end.worker), self.links.pid(end.worker));
        completed.figures.attempts = end.attempts;
        let success = completed.result.is_ok();
        self.end_job(end.job, end.index, completed, now);
        self.clean_up(task, success);
    }

    /// Tasks end without an outcome of a worker.
    fn fail(&mut self, range: Range, error: &TaskError, now: Instant) {
        for n in 0..u64::from(range.count) {
            let mut completed = Completed::failed(error.clone());
            completed.figures.attempts = range.history.attempts();
            self.end_job(range.job, range.index + n, completed, now);
            self.clean_up(range.first.plus(n), false);
        }
    }

    /// A task has ended: its session is over, it emits nothing more, and its sub-tasks that no task waits for are
    /// killed.
    fn clean_up(&mut self, task: TaskId, success: bool) {
        if self.sessions.close(task) {
            self.end_at_servers(task, success);
        }
        if !self.emits.is_empty() {
            let waker = self.emits.remove(&task).and_then(|cell| cell.end());
            self.effects.wake(waker);
        }
        if !self.subtasks.is_empty() {
            self.effects.follow_ups.extend(self.subtasks.remove(task).into_iter().map(Event::Kill));
        }
    }

    /// One task of a job has ended: its result goes to the job's future, map or parent task.
    fn end_job(&mut self, id: JobId, index: u64, mut completed: Completed, now: Instant) {
        match completed.result {
            Ok(_) => self.stats.succeeded += 1,
            Err(_) => self.stats.failed += 1,
        }
        let Some(job) = self.jobs.get_mut(id) else { return };
        let total = job.submitted(index).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        completed.figures.total = total;
        completed.figures.queued = total.saturating_sub(completed.figures.run);
        match job {
            Job::Single { future, .. } => {
                if completed.result == Err(TaskError::Cancelled) {
                    // Another thread that cancels it as well is told the truth, also before the delivery.
                    future.store(completed.clone());
                }
                self.effects.deliveries.push(Delivery::Future(Arc::clone(future), completed));
                self.jobs.remove(id);
            }
            &mut Job::SubTask { parent, index, .. } => {
                self.jobs.remove(id);
                self.sub_task_ended(parent, index, completed);
            }
            Job::Map(map) => {
                if let Some(below) = map.cell.keep(&completed) {
                    self.effects.follow_up(Event::Hold { job: id, below });
                }
                self.effects.deliveries.push(Delivery::Map(Arc::clone(&map.cell), index, completed));
                map.ended(index);
                self.jobs.remove_if_dropped(id);
            }
        }
    }

    /// Queues a range of tasks for a worker, in frames of about [`FRAME_SIZE`].
    fn send(&mut self, worker: WorkerId, range: Range, claim: u32) {
        let (Some(link), Some(job)) = (self.links.writer(worker), self.jobs.get(range.job)) else { return };
        if job.grants(range.index).is_some() {
            let grants = (0..u64::from(range.count)).filter_map(|n| job.grants(range.index + n));
            grants.flatten().for_each(|grant| link.share(grant));
        }
        let mut done = 0;
        while done < range.count {
            let count = frame_count(job, &range, done);
            let header = CallHeader {
                first: range.first.plus(u64::from(done)),
                count,
                claim: claim + done,
                function: range.function,
                run_timeout: range.policy.run_timeout,
                emits: range.policy.emits,
                handles: job.grants(range.index + u64::from(done)).is_some(),
                place: job.place(range.job, range.index + u64::from(done)),
                follow_log: job.follows_logs(),
            };
            let (control, sessions) = (&link.control, &mut self.sessions);
            link.out.frame(to_worker::CALL, |out| {
                encode(&header, out);
                for n in done..done + count {
                    let (task, index) = (range.first.plus(u64::from(n)), range.index + u64::from(n));
                    control.offer(claim + n, task);
                    if header.handles {
                        let grants = job.grants(index).unwrap_or_default().to_vec();
                        encode(&grants.iter().map(granted).collect::<Vec<_>>(), out);
                        sessions.open(task, worker, grants);
                    }
                    push_bytes(out, job.arguments(index));
                }
            });
            done += count;
        }
    }
}

/// The number of tasks in the next frame of a range of which `done` were written: the header says it, so they are
/// counted before they are written.
fn frame_count(job: &Job, range: &Range, done: u32) -> u32 {
    let (mut size, mut count) = (0, 0);
    while done + count < range.count && (count == 0 || size < FRAME_SIZE) {
        size += job.arguments(range.index + u64::from(done + count)).len();
        count += 1;
    }
    count
}
