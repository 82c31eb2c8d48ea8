//! Every decision of a pool, and no effect: which worker runs what, who runs again, who is to blame.
//!
//! `handle(event, now, actions)` is all there is. No clock, thread, socket or process id is used here, so
//! every ordering that a pool can meet is a test without processes. The driver tells what happened and
//! does what the actions say.

mod flight;
mod queue;
mod restart;

use std::time::{Duration, Instant};

use crate::error::{Clock, Phase, TaskError, WorkerExit};
use crate::ids::{JobId, TaskId, WorkerId};

use self::flight::Flight;
use self::queue::Queue;
pub(crate) use self::queue::Range;
use self::restart::{Restart, RestartPolicy};

/// So much work a worker has ahead of it, by the measured time of its tasks.
const AHEAD: Duration = Duration::from_millis(1);
/// The most tasks that are sent ahead, however short they are. Twice as many fit the control page.
const MAX_AHEAD: u32 = 256;
/// A task whose worker died from outside runs again so many times.
const MAX_RERUNS: u8 = 2;
/// A task that had begun in a dead worker without running at that moment was suspended, or had ended and
/// its record was on its way. That is nobody's fault, but it must have an end too.
const MAX_LOSSES: u8 = 50;
/// The parent ends a worker this long after the worker should have ended the task itself.
const GRACE: Duration = Duration::from_millis(250);
/// How often busy workers are looked at, at most and at least, if tasks have a time limit.
const PROBE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What can happen to a pool.
#[derive(Debug)]
pub(crate) enum Event {
    /// Tasks were submitted.
    Submitted(Range),
    /// A worker's process could not be started.
    SpawnFailed { worker: WorkerId, message: String },
    /// A worker has answered the hello.
    WorkerReady(WorkerId),
    /// A worker says that tasks have ended, and how long each ran.
    Done { worker: WorkerId, tasks: Vec<(TaskId, Duration)> },
    /// The answer to [`Action::Recall`]: those that could be taken back.
    Recalled { worker: WorkerId, taken: Vec<TaskId>, why: Recall },
    /// The answer to [`Action::Probe`]: which task runs, and a number that changes whenever that does.
    Probed { worker: WorkerId, running: Option<TaskId>, slice: u64, begun: bool },
    /// A worker's process is gone. `begun` is what its control page said of the tasks that it had, and
    /// `running` which one it ran: a hint, no more.
    WorkerExited {
        worker: WorkerId,
        exit: WorkerExit,
        begun: Vec<TaskId>,
        running: Option<TaskId>,
        message: Option<String>,
    },
    /// Somebody does not want a task any more.
    Cancel(TaskId),
    /// Nobody waits for the rest of a job any more.
    CancelJob(JobId),
    /// No more tasks will come; what is there is finished.
    Close,
    /// Everything ends now.
    Terminate,
    /// The time that `next_deadline` named has come.
    Tick,
}

/// What the driver is to do.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Start a worker's process.
    Spawn(WorkerId),
    /// Mark a range as offered in the control page, from this claim word on, and send it.
    Send { worker: WorkerId, range: Range, claim: u32 },
    /// Try to take tasks back, by their claim words, and report which could be.
    Recall { worker: WorkerId, tasks: Vec<(TaskId, u32)>, why: Recall },
    /// Look which task a worker is running, and report it.
    Probe(WorkerId),
    /// Send SIGKILL.
    Kill(WorkerId),
    /// Close the connection; the worker exits by itself.
    Stop(WorkerId),
    /// The task that was named as the `nth` of the event has ended: its outcome goes to its owner.
    Complete { nth: usize, job: JobId, index: u64, worker: WorkerId, attempts: u32 },
    /// Tasks end without an outcome from a worker.
    Fail { range: Range, error: TaskError },
    /// A worker said something that it could not honestly say.
    Violation { worker: WorkerId, what: &'static str },
}

/// Why a task is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recall {
    /// Its owner does not want it any more.
    Cancel,
    /// Another worker has nothing to do.
    Steal,
}

/// What a pool is set to.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) workers: u16,
    /// The limit of a task's time running.
    pub(crate) timeout: Option<Duration>,
}

/// One place for a worker.
#[derive(Debug)]
enum Slot {
    /// Nobody is there, and somebody will be started when the time has come.
    Empty {
        restart_at: Option<Instant>,
    },
    Starting,
    Ready(Box<Serving>),
    /// Its connection is closed or it was killed, and its end is awaited.
    Ending(Box<Serving>),
}

#[derive(Debug)]
struct Serving {
    flight: Flight,
    /// A task that may have killed a worker runs alone, so that it can be blamed.
    exclusive: bool,
    /// What was running at the last look, and since when.
    watch: Option<(u64, Instant)>,
    /// The task that the parent's own clock has given up on.
    stuck: Option<TaskId>,
    /// Whether tasks were asked back since the worker's tasks last changed. Asking again would find the same.
    asked: bool,
}

impl Serving {
    fn new() -> Self {
        Self { flight: Flight::new(), exclusive: false, watch: None, stuck: None, asked: false }
    }
}

/// What the pool does with new tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    queue: Queue,
    slots: Vec<Slot>,
    generations: Vec<u32>,
    restart: RestartPolicy,
    /// The average time of each function's tasks, once there is one.
    times: Vec<Option<Duration>>,
    next_probe: Option<Instant>,
}

impl Dispatcher {
    pub(crate) fn new(settings: Settings, actions: &mut Vec<Action>) -> Self {
        let places = usize::from(settings.workers);
        let mut dispatcher = Self {
            settings,
            mode: Mode::Open,
            queue: Queue::default(),
            slots: (0..places).map(|_| Slot::Empty { restart_at: None }).collect(),
            generations: vec![0; places],
            restart: RestartPolicy::default(),
            times: Vec::new(),
            next_probe: None,
        };
        for place in 0..places {
            dispatcher.spawn(place, actions);
        }
        dispatcher
    }

    /// Takes in what happened, and appends what is to be done.
    pub(crate) fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::Submitted(range) => self.submitted(range, actions),
            Event::SpawnFailed { worker, message } => self.start_failed(worker, message, now, actions),
            Event::WorkerReady(worker) => self.worker_ready(worker, actions),
            Event::Done { worker, tasks } => self.done(worker, &tasks, actions),
            Event::Recalled { worker, taken, why } => self.recalled(worker, &taken, why, actions),
            Event::Probed { worker, running, slice, begun } => {
                self.probed(worker, running, slice, begun, now, actions);
            }
            Event::WorkerExited { worker, exit, begun, running, message } => {
                self.worker_exited(worker, exit, &begun, running, message, now, actions);
            }
            Event::Cancel(task) => self.cancel(task, actions),
            Event::CancelJob(job) => self.cancel_job(job, actions),
            Event::Close => self.mode = self.mode.max_with(Mode::Closing),
            Event::Terminate => self.terminate(actions),
            Event::Tick => self.tick(now, actions),
        }
        self.fill(actions);
        self.stop_when_finished(actions);
        self.schedule_probe(now);
    }

    /// When `Tick` is due, if ever.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let restarts = self.slots.iter().filter_map(|slot| match slot {
            Slot::Empty { restart_at } => *restart_at,
            _ => None,
        });
        restarts.chain(self.next_probe).min()
    }

    /// How many tasks wait, not counting those on their way to a worker.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether a worker could take a task now and there is none.
    pub(crate) fn is_hungry(&self) -> bool {
        self.mode == Mode::Open
            && self.queue.is_empty()
            && self.ready().any(|(_, serving)| self.room(serving, 0) > 0)
    }

    /// Whether everything has ended and every worker is gone.
    pub(crate) fn is_finished(&self) -> bool {
        self.mode != Mode::Open
            && self.queue.is_empty()
            && self.slots.iter().all(|slot| matches!(slot, Slot::Empty { .. }))
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
        let serving = match self.slots.get(place) {
            Some(Slot::Ready(serving) | Slot::Ending(serving)) if current => Some(serving),
            _ => None,
        };
        serving.into_iter().flat_map(|serving| serving.flight.tasks().map(|(task, claim, _)| (task, claim)))
    }

    fn ready(&self) -> impl Iterator<Item = (WorkerId, &Serving)> {
        self.slots.iter().enumerate().filter_map(|(place, slot)| match slot {
            Slot::Ready(serving) => Some((self.id(place), &**serving)),
            _ => None,
        })
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

    fn spawn(&mut self, place: usize, actions: &mut Vec<Action>) {
        self.generations[place] += 1;
        self.slots[place] = Slot::Starting;
        actions.push(Action::Spawn(self.id(place)));
    }

    fn submitted(&mut self, range: Range, actions: &mut Vec<Action>) {
        if self.mode == Mode::Terminated {
            actions.push(Action::Fail { range, error: TaskError::PoolClosed });
        } else if let Some(message) = self.gave_up() {
            let error = TaskError::NoWorker { message: message.to_owned() };
            actions.push(Action::Fail { range, error });
        } else {
            self.queue.push_back(range);
        }
    }

    /// Why there is no worker and never will be.
    fn gave_up(&self) -> Option<&str> {
        let message = self.restart.broken()?;
        self.slots.iter().all(|slot| matches!(slot, Slot::Empty { restart_at: None })).then_some(message)
    }

    fn worker_ready(&mut self, worker: WorkerId, actions: &mut Vec<Action>) {
        match self.slot(worker) {
            Some(slot @ Slot::Starting) => {
                *slot = Slot::Ready(Box::new(Serving::new()));
                self.restart.started();
            }
            // It was told to end before it could answer.
            Some(Slot::Ending(_)) | None => {}
            Some(_) => actions.push(Action::Violation { worker, what: "it was ready twice" }),
        }
    }

    fn done(&mut self, worker: WorkerId, tasks: &[(TaskId, Duration)], actions: &mut Vec<Action>) {
        for (nth, &(task, run)) in tasks.iter().enumerate() {
            let Some(serving) = self.serving(worker) else { return };
            let Some((_, range)) = serving.flight.remove(task) else {
                actions.push(Action::Violation { worker, what: "it ended a task that it does not have" });
                return;
            };
            serving.exclusive = false;
            serving.asked = false;
            let attempts = u32::from(range.deaths) + u32::from(range.losses) + 1;
            actions.push(Action::Complete { nth, job: range.job, index: range.index, worker, attempts });
            self.measure(range.function, run);
        }
    }

    /// Keeps a moving average: an eighth of it is the latest task.
    fn measure(&mut self, function: u32, run: Duration) {
        let function = function as usize;
        if self.times.len() <= function {
            self.times.resize(function + 1, None);
        }
        let average = &mut self.times[function];
        *average = Some(average.map_or(run, |average| average - average / 8 + run / 8));
    }

    fn recalled(&mut self, worker: WorkerId, taken: &[TaskId], why: Recall, actions: &mut Vec<Action>) {
        let Some(serving) = self.serving(worker) else { return };
        serving.asked &= taken.is_empty();
        let ranges = taken.iter().filter_map(|&task| serving.flight.remove(task).map(|(_, range)| range));
        let ranges = Range::joined(ranges);
        serving.exclusive &= serving.flight.len() > 0;
        match why {
            Recall::Cancel => actions.extend(ranges.into_iter().map(cancelled)),
            Recall::Steal => ranges.into_iter().rev().for_each(|range| self.queue.push_front(range)),
        }
    }

    fn cancel(&mut self, task: TaskId, actions: &mut Vec<Action>) {
        if let Some(range) = self.queue.remove(task) {
            actions.push(cancelled(range));
            return;
        }
        let found = self.ready().find_map(|(worker, serving)| Some((worker, serving.flight.claim_of(task)?)));
        if let Some((worker, claim)) = found {
            actions.push(Action::Recall { worker, tasks: vec![(task, claim)], why: Recall::Cancel });
        }
    }

    fn cancel_job(&mut self, job: JobId, actions: &mut Vec<Action>) {
        actions.extend(self.queue.remove_job(job).into_iter().map(cancelled));
        for (worker, serving) in self.ready() {
            let tasks = serving.flight.tasks().filter(|(_, _, range)| range.job == job);
            let tasks: Vec<_> = tasks.map(|(task, claim, _)| (task, claim)).collect();
            if !tasks.is_empty() {
                actions.push(Action::Recall { worker, tasks, why: Recall::Cancel });
            }
        }
    }

    fn terminate(&mut self, actions: &mut Vec<Action>) {
        self.mode = Mode::Terminated;
        for range in self.queue.drain() {
            actions.push(Action::Fail { range, error: TaskError::PoolClosed });
        }
        for place in 0..self.slots.len() {
            let worker = self.id(place);
            match &mut self.slots[place] {
                Slot::Empty { restart_at } => *restart_at = None,
                slot @ Slot::Starting => {
                    *slot = Slot::Ending(Box::new(Serving::new()));
                    actions.push(Action::Kill(worker));
                }
                Slot::Ready(serving) | Slot::Ending(serving) => {
                    for range in serving.flight.drain() {
                        actions.push(Action::Fail { range, error: TaskError::PoolClosed });
                    }
                    actions.push(Action::Kill(worker));
                    self.end(place);
                }
            }
        }
    }

    /// From now on the worker gets nothing, and its end is awaited.
    fn end(&mut self, place: usize) {
        let slot = &mut self.slots[place];
        *slot = match std::mem::replace(slot, Slot::Empty { restart_at: None }) {
            Slot::Ready(serving) => Slot::Ending(serving),
            other => other,
        };
    }

    fn probed(
        &mut self,
        worker: WorkerId,
        running: Option<TaskId>,
        slice: u64,
        begun: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(timeout) = self.settings.timeout else { return };
        let Some(serving) = self.serving(worker) else { return };
        // A worker whose tasks are all suspended waits; one that has begun none and runs none does not serve.
        let task = running.filter(|task| serving.flight.claim_of(*task).is_some());
        if task.is_none() && begun {
            serving.watch = None;
            return;
        }
        match serving.watch {
            Some((seen, since)) if seen == slice => {
                if now.saturating_duration_since(since) >= timeout.saturating_add(GRACE) {
                    serving.stuck = task;
                    actions.push(Action::Kill(worker));
                    self.end(usize::from(worker.slot));
                }
            }
            _ => serving.watch = Some((slice, now)),
        }
    }

    fn start_failed(&mut self, worker: WorkerId, message: String, now: Instant, actions: &mut Vec<Action>) {
        match self.slot(worker) {
            Some(Slot::Starting) => self.emptied(usize::from(worker.slot), Some(message), now, actions),
            // It was stopped or killed before it was there.
            Some(slot @ Slot::Ending(_)) => *slot = Slot::Empty { restart_at: None },
            _ => {}
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one event's fields")]
    fn worker_exited(
        &mut self,
        worker: WorkerId,
        exit: WorkerExit,
        begun: &[TaskId],
        running: Option<TaskId>,
        message: Option<String>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let place = usize::from(worker.slot);
        let Some(slot) = self.slot(worker) else { return };
        match std::mem::replace(slot, Slot::Empty { restart_at: None }) {
            Slot::Empty { .. } => {}
            Slot::Starting => {
                let message = message.unwrap_or_else(|| exit.to_string());
                self.emptied(place, Some(message), now, actions);
            }
            Slot::Ready(serving) | Slot::Ending(serving) => {
                self.settle_lost(*serving, &exit, begun, running, actions);
                self.emptied(place, None, now, actions);
            }
        }
    }

    /// Decides, for every task that a dead worker had, whether it runs again.
    fn settle_lost(
        &mut self,
        mut serving: Serving,
        exit: &WorkerExit,
        begun: &[TaskId],
        running: Option<TaskId>,
        actions: &mut Vec<Action>,
    ) {
        let alone = serving.flight.len() == 1;
        let mut again = Vec::new();
        for (task, mut range) in serving.flight.drain_tasks() {
            let lost = |phase| TaskError::WorkerLost { cause: exit.clone(), phase };
            if serving.stuck.is_some() {
                if serving.stuck == Some(task) {
                    let limit = self.settings.timeout.unwrap_or_default();
                    let error = TaskError::Timeout { clock: Clock::Run, limit };
                    actions.push(Action::Fail { range, error });
                } else {
                    again.push(range);
                }
                continue;
            }
            let had_begun = begun.contains(&task);
            if !had_begun {
                again.push(range);
                continue;
            }
            let hinted = running.is_none_or(|running| running == task);
            if hinted {
                range.deaths += 1;
            } else {
                range.losses += 1;
            }
            let blamed = alone && !exit.is_external();
            if blamed || range.deaths > MAX_RERUNS || range.losses > MAX_LOSSES {
                actions.push(Action::Fail { range, error: lost(Phase::Running) });
                continue;
            }
            // A crash is somebody's fault. The page's hint says whose it may be, and without a hint
            // everybody who had begun is suspected; who is, runs alone, and then there is no doubt.
            range.alone |= hinted && !exit.is_external();
            again.push(range);
        }
        for range in Range::joined(again).into_iter().rev() {
            self.queue.push_front(range);
        }
    }

    /// A place has nobody in it now: somebody new is started, at once or later or never.
    fn emptied(&mut self, place: usize, failure: Option<String>, now: Instant, actions: &mut Vec<Action>) {
        self.slots[place] = Slot::Empty { restart_at: None };
        if self.mode == Mode::Terminated {
            return;
        }
        let Some(message) = failure else {
            if self.mode == Mode::Open || !self.queue.is_empty() {
                self.spawn(place, actions);
            }
            return;
        };
        match self.restart.failed(message) {
            Restart::After(wait) => self.slots[place] = Slot::Empty { restart_at: Some(now + wait) },
            Restart::GiveUp => {
                let Some(message) = self.gave_up().map(str::to_owned) else { return };
                let error = TaskError::NoWorker { message };
                let left = self.queue.drain().into_iter();
                actions.extend(left.map(|range| Action::Fail { range, error: error.clone() }));
            }
        }
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        for place in 0..self.slots.len() {
            if matches!(self.slots[place], Slot::Empty { restart_at: Some(at) } if at <= now) {
                self.spawn(place, actions);
            }
        }
        if self.next_probe.is_some_and(|at| at <= now) {
            self.next_probe = None;
            let busy = self.ready().filter(|(_, serving)| serving.flight.len() > 0);
            actions.extend(busy.map(|(worker, _)| Action::Probe(worker)));
        }
    }

    /// Busy workers are looked at now and then, if there is a limit that they could break.
    fn schedule_probe(&mut self, now: Instant) {
        let Some(timeout) = self.settings.timeout else { return };
        if self.next_probe.is_none() && self.ready().any(|(_, serving)| serving.flight.len() > 0) {
            self.next_probe = Some(now + (timeout / 4).clamp(PROBE.0, PROBE.1));
        }
    }

    /// How many tasks of a function a worker should have ahead: one until something was measured.
    fn target(&self, function: u32) -> Option<u32> {
        let average = self.times.get(function as usize).copied().flatten()?;
        let count = AHEAD.as_nanos() / average.as_nanos().max(1);
        Some(u32::try_from(count).unwrap_or(MAX_AHEAD).clamp(1, MAX_AHEAD))
    }

    /// How many more tasks of a function a worker takes now. Twice the work ahead is on its way, so that
    /// it runs one half while the other is fetched; small refills wait until they are worth a message.
    fn room(&self, serving: &Serving, function: u32) -> u32 {
        if serving.exclusive {
            return 0;
        }
        let (capacity, least) =
            self.target(function).map_or((1, 1), |target| (target * 2, target.div_ceil(2)));
        let room = capacity.saturating_sub(serving.flight.len());
        if room >= least { room } else { 0 }
    }

    /// Gives workers what waits, and takes back for idle ones what waits behind others.
    fn fill(&mut self, actions: &mut Vec<Action>) {
        self.send_suspects(actions);
        // What is there is shared out, so that the first worker does not take it all.
        let share = self.queue.len().div_ceil(self.ready().count().max(1));
        let share = u32::try_from(share).unwrap_or(u32::MAX);
        while let Some(place) = self.hungriest() {
            if !self.fill_one(place, share, actions) {
                break;
            }
        }
        self.steal(actions);
    }

    /// The place of the worker with the least to do, among those with room for what waits.
    fn hungriest(&self) -> Option<usize> {
        let function = self.queue.front_function()?;
        let with_room = self.slots.iter().enumerate().filter_map(|(place, slot)| match slot {
            Slot::Ready(serving) if self.room(serving, function) > 0 => Some((place, serving.flight.len())),
            _ => None,
        });
        with_room.min_by_key(|(_, len)| *len).map(|(place, _)| place)
    }

    /// Sends a worker as much as it has room for. False if it could not be sent anything.
    fn fill_one(&mut self, place: usize, share: u32, actions: &mut Vec<Action>) -> bool {
        let worker = self.id(place);
        let (Some(function), Slot::Ready(serving)) = (self.queue.front_function(), &self.slots[place]) else {
            return false;
        };
        let room = self.room(serving, function).min(share);
        let Slot::Ready(serving) = &mut self.slots[place] else { return false };
        let Some((claim, free)) = serving.flight.free_claims(room) else { return false };
        let Some(range) = self.queue.pop_front(free) else { return false };
        serving.flight.add(range, claim);
        serving.asked = false;
        actions.push(Action::Send { worker, range, claim });
        true
    }

    /// A suspect runs where nothing else does. If no worker is idle, the one with the least to do gets
    /// nothing more until it is.
    fn send_suspects(&mut self, actions: &mut Vec<Action>) {
        while let Some(range) = self.queue.front_suspect() {
            let candidate = self
                .slots
                .iter_mut()
                .enumerate()
                .filter_map(|(place, slot)| match slot {
                    Slot::Ready(serving) if serving.flight.len() == 0 || !serving.exclusive => {
                        Some((place, serving))
                    }
                    _ => None,
                })
                .min_by_key(|(_, serving)| serving.flight.len());
            let Some((place, serving)) = candidate else { return };
            serving.exclusive = true;
            if serving.flight.len() > 0 {
                return;
            }
            let Some((claim, _)) = serving.flight.free_claims(1) else { return };
            serving.flight.add(range, claim);
            self.queue.pop_suspect();
            actions.push(Action::Send { worker: self.id(place), range, claim });
        }
    }

    /// When a worker has nothing and nothing waits, it gets half of what the busiest has not begun.
    fn steal(&mut self, actions: &mut Vec<Action>) {
        if !self.queue.is_empty() || !self.ready().any(|(_, serving)| serving.flight.len() == 0) {
            return;
        }
        let busiest = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(place, slot)| match slot {
                Slot::Ready(serving) if serving.flight.len() > 1 && !serving.asked => {
                    Some((place, serving.flight.len()))
                }
                _ => None,
            })
            .max_by_key(|(_, len)| *len);
        let Some((place, len)) = busiest else { return };
        let worker = self.id(place);
        let Slot::Ready(serving) = &mut self.slots[place] else { return };
        serving.asked = true;
        let tasks = serving.flight.latest(len / 2);
        actions.push(Action::Recall { worker, tasks, why: Recall::Steal });
    }

    /// A pool that takes no more tasks and has none lets its workers go.
    fn stop_when_finished(&mut self, actions: &mut Vec<Action>) {
        if self.mode != Mode::Closing || !self.queue.is_empty() {
            return;
        }
        if self.ready().any(|(_, serving)| serving.flight.len() > 0) {
            return;
        }
        if self.slots.iter().any(|slot| matches!(slot, Slot::Ending(serving) if serving.flight.len() > 0)) {
            return;
        }
        for place in 0..self.slots.len() {
            let worker = self.id(place);
            match &mut self.slots[place] {
                Slot::Empty { restart_at } => *restart_at = None,
                slot @ Slot::Starting => {
                    *slot = Slot::Ending(Box::new(Serving::new()));
                    actions.push(Action::Stop(worker));
                }
                Slot::Ready(_) => {
                    actions.push(Action::Stop(worker));
                    self.end(place);
                }
                Slot::Ending(_) => {}
            }
        }
    }
}

fn cancelled(range: Range) -> Action {
    Action::Fail { range, error: TaskError::Cancelled }
}

impl Mode {
    /// The later of two modes; a pool never goes back.
    fn max_with(self, other: Mode) -> Mode {
        match (self, other) {
            (Mode::Terminated, _) | (_, Mode::Terminated) => Mode::Terminated,
            (Mode::Closing, _) | (_, Mode::Closing) => Mode::Closing,
            (Mode::Open, Mode::Open) => Mode::Open,
        }
    }
}

#[cfg(test)]
mod tests;
