//! What all threads of a pool share: the dispatcher, the workers' connections, and the jobs' payloads.
//!
//! Whoever has an event takes the lock, runs the dispatcher, and does what it says, so that a submit to an
//! idle worker writes to that worker's socket itself. Results are handed over after the lock is free.

use std::collections::{HashMap, HashSet, VecDeque};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::callbacks::Callbacks;
use super::connection::{Connection, Poller};
use super::driver::Reader;
use super::emitted::EmitState;
use super::family::Families;
use super::future::{Carried, Completed, FutureState};
use super::hosted::{Call, Hosted};
use super::jobs::{Arguments, Batch, Delivery, Job, MapJob};
use super::lead::Lead;
use super::map::{MapState, Pending, Taken};
use super::objects::Objects;
use super::table::granted;
use crate::dispatch::{Action, Dispatcher, Event, Past, Probe, Range, Settings, Terms};
use crate::error::{SubmitError, TaskError};
use crate::ids::{GuestKey, JobId, TaskId, WorkerId};
use crate::manager::Abandoned;
use wpool_wire::message::{BadMessage, CallHeader, encode, handle_numbers, to_worker};

/// A call frame is not made longer by further tasks once it has so many bytes.
const FRAME_SIZE: usize = 256 * 1024;

/// The numbers of a pool at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Workers that can run tasks now.
    pub workers: usize,
    /// Tasks that wait in the parent.
    pub queued: usize,
    /// Tasks that workers have: on their way, running or suspended.
    pub in_flight: usize,
    /// Tasks that were submitted since the pool was built.
    pub submitted: u64,
    /// Tasks that ended with a value.
    pub succeeded: u64,
    /// Tasks that ended with an error.
    pub failed: u64,
    /// Worker processes that were started.
    pub workers_started: u64,
    /// Worker processes that ended without having been told to.
    pub workers_lost: u64,
}

/// Everything that the handles, the futures and the driver of one pool have in common.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// The queue has room again, or the pool takes no more, or everything has ended.
    room: Condvar,
    /// Some worker could take a task and there is none.
    hungry: AtomicBool,
    pub(super) poller: Poller,
    queue_limit: usize,
    callbacks: Callbacks,
    /// Shared objects that nobody has a handle on any more.
    pub(super) abandoned: Arc<Abandoned>,
    /// A worker has just been answered, and will most likely ask for more.
    pub(super) conversing: AtomicBool,
    sentinel: OwnedFd,
    pub(super) lead: Lead,
}

pub(super) struct Core {
    pub(super) dispatcher: Dispatcher,
    /// Whether there is a limit to the memory of a worker.
    watches_memory: bool,
    pub(super) guests: HashMap<GuestKey, Arc<Hosted>>,
    pub(super) workers: HashMap<WorkerId, Connection>,
    jobs: HashMap<JobId, Job>,
    /// Who has submitted whom, among the tasks.
    pub(super) families: Families,
    /// Who reads what tasks emit.
    pub(super) emits: HashMap<TaskId, Arc<EmitState>>,
    pub(super) objects: Objects,
    /// Where the core is, for the handles in results.
    pub(super) home: Weak<Shared>,
    /// A worker was answered.
    pub(super) answered: bool,
    next_task: u64,
    next_job: u64,
    next_guest: u32,
    /// How many of the jobs are maps.
    open_maps: usize,
    /// Ears on workers that were just started, for whoever reads next.
    pub(super) new_readers: Vec<(WorkerId, Reader)>,
    /// Workers that the driver is to start.
    pub(super) to_spawn: Vec<(WorkerId, GuestKey)>,
    /// Workers that were to end before they were there.
    pub(super) doomed: HashSet<WorkerId>,
    closed: Option<&'static str>,
    /// Everything has ended, and every worker is gone.
    finished: bool,
    waiting_for_room: usize,
    pub(super) stats: Stats,
    /// The outcomes of the tasks whose end is being handled.
    current: Vec<Option<Completed>>,
    /// Results to be handed over when the lock is free.
    pub(super) outbox: Vec<Delivery>,
    scratch: Vec<Action>,
    wake_driver: bool,
    /// Until when the driver sleeps, at most.
    pub(super) driver_wakes_at: Option<Instant>,
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        queue_limit: usize,
        shared_memory: u64,
    ) -> rustix::io::Result<Self> {
        let objects = Objects::new(shared_memory);
        let abandoned = Arc::clone(&objects.abandoned);
        let core = Core {
            watches_memory: settings.max_memory.is_some(),
            dispatcher: Dispatcher::new(settings),
            guests: HashMap::new(),
            workers: HashMap::new(),
            jobs: HashMap::new(),
            families: Families::default(),
            emits: HashMap::new(),
            objects,
            home: Weak::new(),
            answered: false,
            next_task: 0,
            next_job: 0,
            next_guest: 0,
            open_maps: 0,
            new_readers: Vec::new(),
            to_spawn: Vec::new(),
            doomed: HashSet::new(),
            closed: None,
            finished: false,
            waiting_for_room: 0,
            stats: Stats::default(),
            current: Vec::new(),
            outbox: Vec::new(),
            scratch: Vec::new(),
            wake_driver: false,
            driver_wakes_at: None,
        };
        Ok(Self {
            core: Mutex::new(core),
            room: Condvar::new(),
            hungry: AtomicBool::new(false),
            poller: Poller::new()?,
            queue_limit,
            callbacks: Callbacks::default(),
            abandoned,
            conversing: AtomicBool::new(false),
            sentinel: rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?,
            lead: Lead::default(),
        })
    }

    /// Takes a guest in. Its tasks can be submitted from now on.
    pub(super) fn host(&self, hosted: impl FnOnce(GuestKey) -> Hosted) -> Arc<Hosted> {
        self.with(|core| {
            let key = GuestKey(core.next_guest);
            core.next_guest += 1;
            let hosted = Arc::new(hosted(key));
            core.guests.insert(key, Arc::clone(&hosted));
            let depth = hosted.limits.sub_tasks.map_or(0, |quota| quota.depth);
            let event = Event::Load { guest: key, weight: hosted.weight, depth };
            core.handle(event, Instant::now(), &self.poller);
            hosted
        })
    }

    pub(super) fn callbacks(&self) -> &Callbacks {
        &self.callbacks
    }

    /// Does something under the lock, then hands over the results that came of it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        self.with_locked(self.lock(), act)
    }

    fn with_locked<T>(&self, mut core: MutexGuard<'_, Core>, act: impl FnOnce(&mut Core) -> T) -> T {
        let value = act(&mut core);
        core.feed_hungry(self);
        core.settle_objects(&self.poller);
        let outbox = std::mem::take(&mut core.outbox);
        let wake = std::mem::take(&mut core.wake_driver);
        if std::mem::take(&mut core.answered) {
            self.conversing.store(true, Ordering::Relaxed);
        }
        let room = core.waiting_for_room > 0
            && (core.closed.is_some() || core.dispatcher.queued() < self.queue_limit);
        drop(core);
        if wake {
            self.wake_driver();
        }
        if room {
            self.room.notify_all();
        }
        let delivered = !outbox.is_empty();
        self.deliver(outbox);
        if delivered && self.lead.is_another_thread() {
            // Whoever reads for its own result may just have got it from here.
            self.poller.wake();
        }
        value
    }

    fn lock(&self) -> MutexGuard<'_, Core> {
        // A panic under this lock is a bug of ours; the state is as good as it was.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands results to their owners, those of one map together.
    fn deliver(&self, outbox: Vec<Delivery>) {
        let mut outbox = outbox.into_iter().peekable();
        while let Some(delivery) = outbox.next() {
            match delivery {
                Delivery::Future(future, completed) => future.settle(completed, &self.callbacks),
                Delivery::Wake(waker) => waker.wake(),
                Delivery::Answer(wait, answer) => {
                    let unheard = wait.answer(answer);
                    self.give_back(&wait, unheard);
                }
                Delivery::Drop(action) => drop(action),
                Delivery::Act(action, act) => self.callbacks.call(Box::new(move || act.run(&action))),
                Delivery::Map(state, index, completed) => {
                    let mut settling = state.settling();
                    settling.push(index, completed);
                    while let Some(Delivery::Map(_, index, completed)) = outbox.next_if(
                        |next| matches!(next, Delivery::Map(other, ..) if Arc::ptr_eq(other, &state)),
                    ) {
                        settling.push(index, completed);
                    }
                }
            }
        }
    }

    /// Has the driver look at the shared state, wherever it waits.
    fn wake_driver(&self) {
        self.poller.wake();
        self.lead.call_driver();
    }

    /// How many jobs have not ended.
    pub(super) fn open_jobs(&self) -> usize {
        self.lock().jobs.len()
    }

    pub(super) fn stats(&self) -> Stats {
        let core = self.lock();
        let (workers, in_flight) = core.dispatcher.counts();
        Stats { workers, in_flight, queued: core.dispatcher.queued(), ..core.stats }
    }

    pub(super) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::SeqCst)
    }

    /// Submits one task. If the queue is full, waits for room or says so.
    pub(super) fn submit(
        &self,
        call: &Call,
        args: Arguments,
        wait: bool,
        emits: Option<Arc<EmitState>>,
    ) -> Result<(TaskId, Arc<FutureState>), SubmitError> {
        let limit = call.hosted.limits.arguments as usize;
        let size = args.bytes.len();
        if size > limit {
            return Err(SubmitError::TooLarge { size, limit });
        }
        let mut core = self.lock();
        while core.closed.is_none() && core.dispatcher.queued() >= self.queue_limit {
            if !wait {
                return Err(SubmitError::QueueFull { limit: self.queue_limit });
            }
            core.waiting_for_room += 1;
            core = self.room.wait(core).unwrap_or_else(PoisonError::into_inner);
            core.waiting_for_room -= 1;
        }
        if let Some(by) = core.closed {
            return Err(SubmitError::Closed { by });
        }
        Ok(self.with_locked(core, |core| core.submit(call, args, emits, &self.poller)))
    }

    /// Has something happen, and does what follows.
    pub(super) fn tell(&self, event: Event) {
        self.with(|core| core.handle(event, Instant::now(), &self.poller));
    }

    /// Whether a task has begun, and its worker has not said that it has ended.
    pub(super) fn is_running(&self, task: TaskId) -> bool {
        let core = self.lock();
        core.dispatcher.holder(task).is_some_and(|(worker, claim)| {
            core.workers.get(&worker).is_some_and(|connection| connection.control.has_begun(claim, task))
        })
    }

    /// Takes no more tasks; those that are there end as they would.
    pub(super) fn close(&self, by: &'static str) {
        self.with(|core| {
            core.closed.get_or_insert(by);
            core.wake_driver = true;
            core.handle(Event::Close, Instant::now(), &self.poller);
        });
    }

    /// Ends everything now.
    pub(super) fn terminate(&self) {
        self.with(|core| {
            core.closed.get_or_insert("`terminate`");
            core.wake_driver = true;
            core.handle(Event::Terminate, Instant::now(), &self.poller);
            core.objects.store.close();
        });
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed_by().is_some()
    }

    /// What closed the pool, if it is closed.
    pub(super) fn closed_by(&self) -> Option<&'static str> {
        self.lock().closed
    }

    /// The pool cannot go on: every task that has not ended fails, and the workers are killed.
    pub(super) fn give_up(&self) {
        self.with(|core| {
            core.closed.get_or_insert("a bug in wpool");
            core.workers.clear();
            core.open_maps = 0;
            core.outbox.extend(core.emits.drain().filter_map(|(_, state)| state.end()).map(Delivery::Wake));
            for job in core.jobs.drain().map(|(_, job)| job) {
                match job {
                    Job::Single { future, .. } => {
                        let completed = Completed::failed(TaskError::PoolClosed);
                        core.outbox.push(Delivery::Future(future, completed));
                    }
                    Job::Map(map) => map.state.give_up(),
                    Job::Sub { .. } => {}
                }
            }
        });
    }

    /// The driver has nothing left to do.
    pub(super) fn set_finished(&self) {
        self.with(|core| {
            core.finished = true;
            // Nobody is left who could bring about what anybody waits for.
            core.objects.store.close();
        });
        self.room.notify_all();
        // A counter of one cannot be full.
        let _told = rustix::io::write(&self.sentinel, &1u64.to_ne_bytes());
    }

    /// It can be read when everything has ended.
    pub(super) fn sentinel(&self) -> BorrowedFd<'_> {
        self.sentinel.as_fd()
    }

    /// The numbers of the workers' processes.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.lock().workers.values().map(|connection| connection.process.pid()).collect()
    }

    /// Sends a signal to all workers.
    pub(super) fn signal(&self, signal: rustix::process::Signal) {
        self.lock().workers.values_mut().for_each(|connection| connection.process.signal(signal));
    }

    /// Waits until everything has ended, at most so long. False if it has not.
    pub(super) fn wait_finished(&self, time: Duration) -> bool {
        let core = self.lock();
        let waited = self.room.wait_timeout_while(core, time, |core| !core.finished);
        waited.unwrap_or_else(PoisonError::into_inner).0.finished
    }

    /// Makes a job for a map. Its tasks come by `publish`.
    pub(super) fn open_map(
        &self,
        call: &Call,
        state: &Arc<MapState>,
        pending: &Arc<Mutex<Pending>>,
    ) -> JobId {
        let map = MapJob {
            state: Arc::clone(state),
            pending: Arc::clone(pending),
            end_by: call
                .options
                .map_timeout
                .and_then(|limit| Some((Instant::now().checked_add(limit)?, limit))),
            call: call.clone(),
            batches: VecDeque::new(),
            running: 0,
            complete: false,
            dropped: false,
        };
        self.with(|core| {
            let job = core.new_job();
            core.jobs.insert(job, Job::Map(map));
            core.open_maps += 1;
            job
        })
    }

    /// Makes a map's pending tasks known to the dispatcher.
    pub(super) fn publish(&self, job: JobId) {
        self.with(|core| core.publish(job, &self.poller));
    }

    /// A map has no more tasks; with `cancel`, nobody wants those that it had.
    pub(super) fn finish_map(&self, job: JobId, cancel: bool) {
        self.with(|core| {
            core.publish(job, &self.poller);
            if cancel {
                core.handle(Event::CancelJob(job), Instant::now(), &self.poller);
            }
            if let Some(Job::Map(map)) = core.jobs.get_mut(&job) {
                map.complete = true;
            }
        });
    }

    /// Forgets a map that nobody looks at any more.
    pub(super) fn drop_map(&self, job: JobId) {
        self.finish_map(job, true);
        self.with(|core| {
            if let Some(Job::Map(map)) = core.jobs.get_mut(&job) {
                map.dropped = true;
                if map.running == 0 {
                    core.jobs.remove(&job);
                    core.open_maps -= 1;
                }
            }
        });
    }
}

impl Core {
    pub(super) fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// Whether everything has ended.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// Has the driver look at the clock until then.
    pub(super) fn hurry(&mut self, deadline: Option<Instant>) {
        let sooner = |at: Instant| self.driver_wakes_at.is_none_or(|known| at < known);
        self.wake_driver |= deadline.is_some_and(sooner);
    }

    /// Ends workers that have not answered, or not exited, in time.
    pub(super) fn end_overdue(&mut self, now: Instant) {
        for connection in self.workers.values_mut() {
            if let Some((_, words)) = connection.due.take_if(|(at, _)| *at <= now) {
                connection.last_words.get_or_insert_with(|| words.to_owned());
                connection.process.kill();
            }
        }
    }

    /// A worker has closed its connection. It gets a moment to exit: a process that exits closes its descriptors
    /// first.
    pub(super) fn expect_exit(&mut self, worker: WorkerId) {
        const MOMENT: Duration = Duration::from_millis(100);
        if let Some(connection) = self.workers.get_mut(&worker) {
            connection.due = Some((Instant::now() + MOMENT, "it closed its connection and did not exit"));
            self.wake_driver = true;
        }
    }

    fn new_job(&mut self) -> JobId {
        self.next_job += 1;
        JobId(self.next_job)
    }

    fn submit(
        &mut self,
        call: &Call,
        args: Arguments,
        emits: Option<Arc<EmitState>>,
        poller: &Poller,
    ) -> (TaskId, Arc<FutureState>) {
        let future = FutureState::new();
        let job = Job::Single { args, future: Arc::clone(&future), submitted: Instant::now() };
        let window = emits.as_ref().map(|state| state.window());
        // The dispatcher may send it at once, so its reader must be known before.
        self.emits.extend(emits.map(|state| (TaskId(self.next_task), state)));
        (self.submit_job(call, job, 0, window, poller), future)
    }

    /// The number that the next task gets.
    pub(super) fn next_task(&self) -> TaskId {
        TaskId(self.next_task)
    }

    /// Submits a job of one task.
    pub(super) fn submit_job(
        &mut self,
        call: &Call,
        job: Job,
        depth: u8,
        emits: Option<u64>,
        poller: &Poller,
    ) -> TaskId {
        let (id, now) = (self.new_job(), Instant::now());
        self.jobs.insert(id, job);
        let terms = Terms { depth, emits, ..call.terms(now) };
        self.submit_range(self.range(id, call, 0, 1, terms), now, poller)
    }

    fn range(&self, job: JobId, call: &Call, index: u64, count: u32, terms: Terms) -> Range {
        let first = TaskId(self.next_task);
        let (guest, function) = (call.hosted.key, call.function);
        Range { first, count, job, index, guest, function, terms, past: Past::default() }
    }

    fn submit_range(&mut self, range: Range, now: Instant, poller: &Poller) -> TaskId {
        self.next_task += u64::from(range.count);
        self.stats.submitted += u64::from(range.count);
        self.handle(Event::Submitted(range), now, poller);
        range.first
    }

    /// Submits what a map has gathered. If it is too late for that, those tasks end here.
    fn publish(&mut self, job: JobId, poller: &Poller) {
        let Some(Job::Map(map)) = self.jobs.get_mut(&job) else { return };
        let taken = map.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Taken { first, ends, bytes, grants }) = taken else { return };
        let (count, now) = (ends.len(), Instant::now());
        if map.complete || self.closed.is_some() {
            let error = if map.complete { TaskError::Cancelled } else { TaskError::PoolClosed };
            let state = &map.state;
            let late = (0..count as u64).map(|n| (first + n, Completed::failed(error.clone())));
            self.outbox
                .extend(late.map(|(index, completed)| Delivery::Map(Arc::clone(state), index, completed)));
            return;
        }
        map.running += count as u64;
        map.batches.push_back(Batch { first, ends, bytes, grants, unsettled: count, published: now });
        let mut terms = map.call.terms(now);
        terms.end_by = [terms.end_by, map.end_by].into_iter().flatten().min();
        let (call, count) = (map.call.clone(), u32::try_from(count).expect("a batch is small"));
        let range = self.range(job, &call, first, count, terms);
        self.submit_range(range, now, poller);
    }

    /// Looks whether a map has tasks that the dispatcher does not know yet, as long as it could use some.
    fn feed_hungry(&mut self, shared: &Shared) {
        if self.open_maps == 0 {
            return;
        }
        loop {
            let hungry: Vec<GuestKey> =
                self.guests.keys().copied().filter(|guest| self.dispatcher.is_hungry(*guest)).collect();
            // The flag is up before the maps are looked at, and whoever adds a task looks at the flag
            // after that: one of the two sees the other.
            shared.hungry.store(!hungry.is_empty(), Ordering::SeqCst);
            if hungry.is_empty() {
                return;
            }
            let waiting = self.jobs.iter().find_map(|(job, kind)| match kind {
                Job::Map(map) if hungry.contains(&map.call.hosted.key) => {
                    let pending = map.pending.lock().unwrap_or_else(PoisonError::into_inner);
                    (!pending.is_empty()).then_some(*job)
                }
                Job::Map(_) | Job::Single { .. } | Job::Sub { .. } => None,
            });
            match waiting {
                Some(job) => self.publish(job, &shared.poller),
                None => return,
            }
        }
    }

    /// Tasks have ended in a worker.
    pub(super) fn done(
        &mut self,
        worker: WorkerId,
        tasks: Vec<(TaskId, Duration)>,
        outcomes: Vec<Option<Completed>>,
        poller: &Poller,
    ) {
        self.current = outcomes;
        self.handle(Event::Done { worker, tasks }, Instant::now(), poller);
        self.current.clear();
    }

    /// The handles in the value of a task.
    pub(super) fn carried(
        &self,
        worker: WorkerId,
        task: TaskId,
        handles: &[u8],
    ) -> Result<Box<Carried>, BadMessage> {
        let grants = self.objects.handed_out(worker, task, handle_numbers(handles))?;
        Ok(Box::new(Carried { grants, home: Weak::clone(&self.home) }))
    }

    /// Runs the dispatcher and does what it says, and what follows from that.
    pub(super) fn handle(&mut self, event: Event, now: Instant, poller: &Poller) {
        let mut follow = VecDeque::from([event]);
        let mut actions = std::mem::take(&mut self.scratch);
        while let Some(event) = follow.pop_front() {
            self.dispatcher.handle(event, now, &mut actions);
            for action in actions.drain(..) {
                self.perform(action, now, poller, &mut follow);
            }
        }
        self.scratch = actions;
        let sooner = |at: Instant| self.driver_wakes_at.is_none_or(|known| at < known);
        self.wake_driver |=
            self.dispatcher.is_finished() || self.dispatcher.next_deadline().is_some_and(sooner);
    }

    fn perform(&mut self, action: Action, now: Instant, poller: &Poller, follow: &mut VecDeque<Event>) {
        match action {
            Action::Spawn { worker, guest } => {
                self.to_spawn.push((worker, guest));
                self.wake_driver = true;
            }
            Action::Send { worker, range, claim } => self.send(worker, range, claim, poller),
            Action::Recall { worker, tasks, why } => {
                let Some(connection) = self.workers.get(&worker) else { return };
                let taken = tasks.into_iter().filter(|&(task, claim)| connection.control.recall(claim, task));
                let taken = taken.map(|(task, _)| task).collect();
                follow.push_back(Event::Recalled { worker, taken, why });
            }
            Action::Probe(worker) => {
                let Some(connection) = self.workers.get(&worker) else { return };
                let (running, slice) = connection.control.running();
                let mut tasks = self.dispatcher.tasks_of(worker);
                let begun = tasks.any(|(task, claim)| connection.control.has_begun(claim, task));
                let resident = if self.watches_memory { connection.process.resident() } else { None };
                let seen = Probe { running, slice, begun, resident };
                follow.push_back(Event::Probed { worker, seen });
            }
            Action::EndTask { worker, task, claim } => {
                let Some(connection) = self.workers.get_mut(&worker) else { return };
                if connection.control.ask_to_end(claim, task) {
                    connection.out.frame(to_worker::END, |out| encode(&task, out));
                    connection.flush(worker, poller);
                }
            }
            Action::Unloaded(guest) => drop(self.guests.remove(&guest)),
            Action::Kill(worker) => match self.workers.get_mut(&worker) {
                Some(connection) => connection.process.kill(),
                None => drop(self.doomed.insert(worker)),
            },
            Action::Stop(worker) => match self.workers.get_mut(&worker) {
                Some(connection) => {
                    connection.let_go = true;
                    // If this fails the connection is at its end already.
                    let _ended = connection.socket.shutdown(std::net::Shutdown::Write);
                }
                None => drop(self.doomed.insert(worker)),
            },
            Action::Complete { nth, task, job, index, worker, attempts, end } => {
                let Some(mut completed) = self.current.get_mut(nth).and_then(Option::take) else { return };
                match (&mut completed.result, end.reason, end.timeout) {
                    (Err(error @ TaskError::Killed), Some(reason), _) => *error = reason,
                    (Err(TaskError::Timeout { limit, .. }), _, Some(timeout)) => *limit = timeout,
                    _ => {}
                }
                completed.figures.worker = Some(worker);
                completed.figures.attempts = attempts;
                let success = completed.result.is_ok();
                self.settle(job, index, completed, now, poller);
                self.bury(task, success, follow);
            }
            Action::Fail { range, error } => {
                for n in 0..u64::from(range.count) {
                    let mut completed = Completed::failed(error.clone());
                    completed.figures.attempts = range.past.begun();
                    self.settle(range.job, range.index + n, completed, now, poller);
                    self.bury(range.first.plus(n), false, follow);
                }
            }
            Action::Violation { worker, what } => self.violation(worker, what.to_owned()),
        }
    }

    /// A worker broke the protocol. It is ended, and whatever it still says is not listened to.
    pub(super) fn violation(&mut self, worker: WorkerId, what: String) {
        if let Some(connection) = self.workers.get_mut(&worker) {
            tracing::error!(%worker, what, "a worker broke the protocol");
            connection.violation.get_or_insert(what);
            connection.process.kill();
        }
    }

    /// A task has ended: what it emitted is all there is, and what it has submitted and not waited for is killed.
    fn bury(&mut self, task: TaskId, success: bool, follow: &mut VecDeque<Event>) {
        self.objects.end(task, success);
        if !self.emits.is_empty() {
            let waker = self.emits.remove(&task).and_then(|state| state.end());
            self.outbox.extend(waker.map(Delivery::Wake));
        }
        if !self.families.is_empty() {
            follow.extend(self.families.remove(task).into_iter().map(Event::Kill));
        }
    }

    fn settle(&mut self, job: JobId, index: u64, mut completed: Completed, now: Instant, poller: &Poller) {
        match completed.result {
            Ok(_) => self.stats.succeeded += 1,
            Err(_) => self.stats.failed += 1,
        }
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        let total = entry.submitted(index).map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        completed.figures.total = total;
        completed.figures.queued = total.saturating_sub(completed.figures.run);
        match entry {
            Job::Single { future, .. } => {
                self.outbox.push(Delivery::Future(Arc::clone(future), completed));
                self.jobs.remove(&job);
            }
            &mut Job::Sub { parent, number, .. } => {
                self.jobs.remove(&job);
                self.sub_task_ended(parent, number, completed, poller);
            }
            Job::Map(map) => {
                self.outbox.push(Delivery::Map(Arc::clone(&map.state), index, completed));
                map.settled(index);
                if map.dropped && map.running == 0 {
                    self.jobs.remove(&job);
                    self.open_maps -= 1;
                }
            }
        }
    }

    /// Writes a range of tasks to a worker, as far as its socket takes them now.
    fn send(&mut self, worker: WorkerId, range: Range, claim: u32, poller: &Poller) {
        let (Some(connection), Some(job)) = (self.workers.get_mut(&worker), self.jobs.get(&range.job)) else {
            return;
        };
        let mut done = 0;
        if job.grants(range.index).is_some() {
            let grants = (0..u64::from(range.count)).filter_map(|n| job.grants(range.index + n));
            grants.flatten().for_each(|grant| connection.share(grant));
        }
        while done < range.count {
            // The header says how many tasks follow, so they are counted before they are written.
            let mut size = 0;
            let mut count = 0;
            while done + count < range.count && (count == 0 || size < FRAME_SIZE) {
                size += job.arguments(range.index + u64::from(done + count)).len();
                count += 1;
            }
            let header = CallHeader {
                first: range.first.plus(u64::from(done)),
                count,
                claim: claim + done,
                task: range.function,
                timeout: range.terms.run,
                emits: range.terms.emits,
                handles: job.grants(range.index + u64::from(done)).is_some(),
            };
            connection.out.frame(to_worker::CALL, |out| {
                encode(&header, out);
                for n in done..done + count {
                    let (task, index) = (range.first.plus(u64::from(n)), range.index + u64::from(n));
                    connection.control.offer(claim + n, task);
                    if header.handles {
                        let grants = job.grants(index).unwrap_or_default().to_vec();
                        encode(&grants.iter().map(granted).collect::<Vec<_>>(), out);
                        self.objects.open(task, worker, grants);
                    }
                    crate::guest::json::push_bytes(out, job.arguments(index));
                }
            });
            done += count;
        }
        connection.flush(worker, poller);
    }
}

/// The error of a map's task that could not even be sent.
pub(super) fn unsendable(message: String) -> Completed {
    Completed::failed(TaskError::BadArguments { message })
}
