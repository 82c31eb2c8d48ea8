//! One pool's inside, which all its handles, its futures and its driver share.
//!
//! ```text
//!  caller threads        | parent: dispatcher + reactor               | worker: one process per slot
//!                        |                                            |
//!  submit --- Submitted -+-> queue -> Dispatcher --- Send ------------+-> serve loop -> Store + Instance
//!  TaskFuture <- deliver +--------- handle(event, now) <- Done -------+-- outcome (value | error | trap | limit)
//!  cancel --- Cancel ----+->           ^      |                       |
//!                        |             |      +- answer, credit <-----+-- request: emit, sub-task, shared object
//!                        | WorkerExited|      +- Spawn / Stop / Kill -+-> exec / end of the stream / SIGKILL
//!                        | Tick -------+                              |
//! ```
//!
//! A thread with an event takes the lock and runs the dispatcher: a caller that submits to an idle worker writes to
//! that worker's socket itself. One such turn ([`Runtime::with`]) is: the state changes, its effects are collected, the
//! links are flushed once, the lock is freed, and what was collected is delivered. The driver's thread starts workers
//! and keeps the time; it reads from the workers too, unless a thread that waits for a result does so in its place.

pub(crate) mod cell;
mod closing;
mod completed;
mod driver;
mod effects;
mod handle_table;
mod heavy;
mod interest;
mod jobs;
mod link;
mod messages;
mod object_calls;
mod pool_guest;
mod reactor;
mod requests;
mod servers;
mod sessions;
mod state;
mod stats;
mod submit;
#[cfg(test)]
mod tests;
mod token_bucket;

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};
use rustix::process::Signal;

pub use self::cell::log::LogPart;
pub use self::completed::{Completed, Figures, TaskLog};
pub(crate) use self::driver::{lead, run as drive};
pub(crate) use self::jobs::{Arguments, MapStop, PendingInputs, StoppedBy};
pub(crate) use self::pool_guest::{PoolGuest, TaskCall, TaskOptions};
pub(crate) use self::state::State;
pub use self::stats::Stats;

use self::cell::map::MapCell;
use self::effects::{Delivery, Effects};
use self::jobs::{Job, MapJob};
use self::link::Conversation;
use self::reactor::Reactor;
use self::servers::Servers;
use self::state::Lifecycle;
use crate::callbacks::{Callback, Callbacks, guarded};
use crate::dispatch::{Event, Settings};
use crate::ids::{GuestKey, JobId, TaskId, WorkerId};
use crate::lock::{Condvar, Mutex, MutexGuard, wait_until};
use crate::server::{Closed, MailReader, Mailbox, ObjectServer};

/// A worker that the driver is to start, and the guest that it is to serve.
type Spawn = (WorkerId, GuestKey);

/// One pool's inside.
pub(crate) struct Runtime {
    state: Mutex<State>,
    /// The queue has room again, or the pool takes no more tasks, or everything has ended.
    room: Condvar,
    queue_limit: usize,
    reactor: Reactor<Conversation>,
    /// A worker could take a task and there is none.
    wants_tasks: Arc<AtomicBool>,
    /// The pool's own shared objects.
    objects: Arc<ObjectServer>,
    callbacks: Callbacks,
    /// Workers on their way to the driver, which starts them.
    spawns: Sender<Spawn>,
    to_spawn: Receiver<Spawn>,
    /// Can be read when everything has ended.
    sentinel: OwnedFd,
}

impl Runtime {
    /// The inside of a pool without guests and workers. `queue_limit` is the number of tasks that may wait,
    /// `shared_memory` that of the bytes of all shared arrays.
    pub(crate) fn new(
        settings: Settings,
        queue_limit: usize,
        shared_memory: u64,
    ) -> rustix::io::Result<Arc<Self>> {
        let reactor = Reactor::new()?;
        let sentinel = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        let objects = ObjectServer::new(shared_memory);
        let (spawns, to_spawn) = crossbeam_channel::unbounded();
        Ok(Arc::new_cyclic(|this: &Weak<Self>| {
            let mailbox = Arc::new(Mailbox::new(Weak::clone(this) as Weak<dyn MailReader>));
            let state = State::new(settings, Servers::new(Arc::clone(&objects), mailbox));
            let wants_tasks = state.jobs.wants_tasks();
            Self {
                state: Mutex::new(state),
                room: Condvar::new(),
                queue_limit,
                reactor,
                wants_tasks,
                objects,
                callbacks: Callbacks::default(),
                spawns,
                to_spawn,
                sentinel,
            }
        }))
    }

    /// One turn: `act` changes the state under the lock; what came of it is delivered when the lock is free.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.turn(self.state.lock(), act)
    }

    fn turn<T>(&self, mut state: MutexGuard<'_, State>, act: impl FnOnce(&mut State) -> T) -> T {
        let value = act(&mut state);
        state.feed_workers();
        state.read_mail();
        state.effects.wake_driver |= state.links.flush(self.reactor.interest());
        let effects = std::mem::take(&mut state.effects);
        let waits = state.waiting_for_room > 0 || !state.room_wakers.is_empty();
        let room =
            waits && (state.lifecycle != Lifecycle::Open || state.dispatcher.queued() < self.queue_limit);
        let wakers = if room { std::mem::take(&mut state.room_wakers) } else { Vec::new() };
        drop(state);
        self.carry_out(effects);
        if room {
            self.room.notify_all();
            wakers.into_iter().for_each(|waker| guarded(|| waker.wake()));
        }
        value
    }

    /// Carries out the effects of a turn, without the lock.
    fn carry_out(&self, effects: Effects) {
        let Effects { deliveries, spawns, wake_driver, answered, follow_ups } = effects;
        debug_assert!(follow_ups.is_empty(), "the dispatcher handles what follows within the turn");
        if answered {
            self.reactor.expect_more();
        }
        for spawn in spawns {
            // The runtime has the receiver, too.
            let _open = self.spawns.send(spawn);
        }
        if wake_driver {
            self.reactor.interest().wake();
            self.reactor.call_driver();
        }
        if !deliveries.is_empty() {
            self.deliver(deliveries);
            // A thread that reads for its own result may just have got it from here.
            self.reactor.wake_other_leader();
        }
    }

    /// Hands results and answers to their owners, results of one map together.
    fn deliver(&self, deliveries: Vec<Delivery>) {
        let mut deliveries = deliveries.into_iter().peekable();
        while let Some(delivery) = deliveries.next() {
            guarded(|| match delivery {
                Delivery::Future(cell, completed) => cell.complete(completed, &self.callbacks),
                Delivery::EndMap(cell) => cell.nudge(),
                Delivery::AbortMap(cell) => cell.abort(),
                Delivery::Wake(waker) => waker.wake(),
                // This thread may deliver for a turn of another pool's mail, so that one is left to its own threads.
                Delivery::Outbox(outbox) => outbox.deliver(Mailbox::wake),
                Delivery::Map(cell, index, completed) => {
                    let mut arrivals = cell.arrivals();
                    arrivals.push(index, completed);
                    while let Some(Delivery::Map(_, index, completed)) = deliveries
                        .next_if(|next| matches!(next, Delivery::Map(other, ..) if Arc::ptr_eq(other, &cell)))
                    {
                        arrivals.push(index, completed);
                    }
                }
            });
        }
    }

    /// Adds a guest. Its tasks can be submitted from now on. The error names the call that has closed the pool.
    pub(crate) fn add_guest(
        &self,
        guest: impl FnOnce(GuestKey) -> PoolGuest,
    ) -> Result<Arc<PoolGuest>, &'static str> {
        self.with(|state| match state.lifecycle.closed_by() {
            Some(by) => Err(by),
            None => Ok(state.add_guest(guest)),
        })
    }

    /// Passes an event to the dispatcher, in a turn of its own.
    pub(crate) fn tell(&self, event: Event) {
        self.with(|state| state.handle(event, Instant::now()));
    }

    /// Makes a job for a map. Its tasks come by [`publish`](Self::publish).
    pub(crate) fn open_map(
        &self,
        call: &TaskCall,
        cell: &Arc<MapCell>,
        pending: &Arc<Mutex<PendingInputs>>,
        stop: &Arc<MapStop>,
    ) -> JobId {
        let (cell, pending) = (Arc::clone(cell), Arc::clone(pending));
        let mut map = MapJob::new(call.clone(), cell, pending, Arc::clone(stop), Instant::now());
        self.with(|state| {
            if state.lifecycle != Lifecycle::Open {
                map.complete = true;
                stop.stop(StoppedBy::Pool);
            }
            state.jobs.add(Job::Map(map))
        })
    }

    /// Submits what a map has gathered.
    pub(crate) fn publish(&self, job: JobId) {
        self.with(|state| state.publish(job));
    }

    /// A map has no more inputs; with `cancel`, its tasks that have not started are cancelled.
    pub(crate) fn finish_map(&self, job: JobId, cancel: bool) {
        self.with(|state| {
            state.publish(job);
            if cancel {
                state.handle(Event::CancelJob(job), Instant::now());
            }
            if let Some(map) = state.jobs.map(job) {
                map.complete = true;
            }
            state.close_after_maps();
        });
    }

    /// Hands out the tasks of a map again that were held back, as far as their index is below `below`.
    pub(crate) fn release(&self, job: JobId, below: u64) {
        self.tell(Event::Release { job, below });
    }

    /// Forgets a map whose reader is gone.
    pub(crate) fn drop_map(&self, job: JobId) {
        self.finish_map(job, true);
        self.with(|state| {
            if let Some(map) = state.jobs.map(job) {
                map.dropped = true;
            }
            state.jobs.remove_if_dropped(job);
        });
    }

    /// Whether a worker could take a task and there is none.
    pub(crate) fn wants_tasks(&self) -> bool {
        self.wants_tasks.load(Ordering::SeqCst)
    }

    /// Tells a task the total of values that it may have emitted by now.
    pub(crate) fn grant_emits(&self, task: TaskId, total: u64) {
        self.with(|state| state.grant_emits(task, total));
    }

    /// The pool's own shared objects.
    pub(crate) fn objects(&self) -> &Arc<ObjectServer> {
        &self.objects
    }

    /// Starts the callback thread unless it runs.
    pub(crate) fn start_callbacks(&self) {
        self.callbacks.start();
    }

    /// Has the callback thread run `callback`.
    pub(crate) fn call_back(&self, callback: Callback) {
        self.callbacks.call(callback);
    }

    /// Waits until every callback so far has run.
    pub(crate) fn finish_callbacks(&self) {
        self.callbacks.finish();
    }

    /// Has the driver read from the workers again, as a thread waits that does not read for itself.
    pub(crate) fn call_driver(&self) {
        self.reactor.call_driver();
    }

    pub(crate) fn stats(&self) -> Stats {
        let state = self.state.lock();
        let (workers, in_flight) = state.dispatcher.counts();
        Stats { workers, in_flight, queued: state.dispatcher.queued(), ..state.stats }
    }

    /// Whether a task has started, and its worker has not reported its end.
    pub(crate) fn is_running(&self, task: TaskId) -> bool {
        let state = self.state.lock();
        state.dispatcher.holder(task).is_some_and(|(worker, claim)| {
            state.links.get(worker).is_some_and(|link| link.control.has_started(claim, task))
        })
    }

    /// The number of jobs.
    fn open_jobs(&self) -> usize {
        self.state.lock().jobs.len()
    }

    /// Takes no more tasks; those that are there end as they would, and maps that are open get all their inputs. `by` names
    /// the call for error messages.
    pub(crate) fn close(&self, by: &'static str) {
        self.with(|state| state.close(by));
    }

    /// Takes no more tasks and no more inputs of maps, and cancels what has not started.
    pub(crate) fn close_and_cancel(&self, by: &'static str) {
        self.with(|state| {
            state.close_with_maps(by);
            state.handle(Event::CancelPending, Instant::now());
        });
    }

    /// Ends everything now. `by` names the call for error messages.
    pub(crate) fn terminate(&self, by: &'static str) {
        self.with(|state| {
            state.close_with_maps(by);
            state.handle(Event::Terminate, Instant::now());
        });
        self.objects.with(|objects| objects.close(Closed::Waits));
    }

    /// The call that closed the pool; `None` while it is open.
    pub(crate) fn closed_by(&self) -> Option<&'static str> {
        self.state.lock().lifecycle.closed_by()
    }

    /// Everything has ended, and every worker is gone.
    fn finish(&self) {
        self.with(State::finish);
        // No task of the pool will ever answer a call of the host any more.
        self.objects.with(|objects| objects.close(Closed::Waits));
        self.room.notify_all();
        // A counter of one cannot be full.
        let _told = rustix::io::write(&self.sentinel, &1u64.to_ne_bytes());
    }

    /// Waits until everything has ended, or nothing is left but maps whose readers do not read. Returns whether everything has
    /// ended.
    pub(crate) fn wait_joined(&self) -> bool {
        let mut state = self.state.lock();
        state.waiting_for_room += 1;
        let ended =
            |state: &mut State| (state.is_finished() || state.rests_for_maps()).then(|| state.is_finished());
        let finished = wait_until(&self.room, &mut state, None, ended);
        state.waiting_for_room -= 1;
        finished.unwrap_or_default()
    }

    /// Waits until everything has ended, at most for `time`. Returns whether it has.
    pub(crate) fn wait_finished(&self, time: Duration) -> bool {
        let finished = |state: &mut State| state.is_finished().then_some(());
        let deadline = Instant::now().checked_add(time);
        wait_until(&self.room, &mut self.state.lock(), deadline, finished).is_some()
    }

    /// Waits until the first worker has its process, or the pool has ended without one. Returns the process id.
    pub(crate) fn wait_first_pid(&self) -> Option<u32> {
        let mut state = self.state.lock();
        state.waiting_for_room += 1;
        let known =
            |state: &mut State| (state.first_pid.is_some() || state.is_finished()).then_some(state.first_pid);
        let pid = wait_until(&self.room, &mut state, None, known);
        state.waiting_for_room -= 1;
        pid.flatten()
    }

    /// A descriptor that can be read when everything has ended.
    pub(crate) fn sentinel(&self) -> BorrowedFd<'_> {
        self.sentinel.as_fd()
    }

    /// The process ids of the workers.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.state.lock().links.pids()
    }

    /// Sends a signal to all workers.
    pub(crate) fn signal(&self, signal: Signal) {
        self.state.lock().links.signal_all(signal);
    }
}

impl MailReader for Runtime {
    fn read_mail(&self) {
        self.with(|_| ());
    }

    fn wake(&self) {
        self.reactor.interest().wake();
        self.reactor.call_driver();
    }

    fn read_from_workers(&self) {
        self.reactor.call_driver();
    }
}
