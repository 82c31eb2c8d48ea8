//! Every decision of a pool, without effects: what runs where, what is retried, and which task is to blame.
//!
//! [`Dispatcher::handle`] turns an event into actions. No clock, thread, socket or process id is used here, so every order
//! of events that a pool can meet is tested without processes. The runtime reports the events and performs the actions.

mod assignment;
mod breaker;
mod deadlines;
mod event;
mod expiry;
mod flight;
mod guest_queue;
mod guests;
mod lane;
mod probing;
mod range;
mod retries;
mod scaling;
mod slot;
mod state;
pub(crate) mod subtasks;
mod tasks;
#[cfg(test)]
mod tests;
mod waiting;
mod workers;

use std::time::Instant;

pub(crate) use self::event::{Action, Event, Probe, TaskEnd};
pub(crate) use self::range::{Range, RetryHistory, TaskPolicy};
use self::retries::ExitReport;
pub(crate) use self::state::{Dispatcher, Settings};

impl Dispatcher {
    /// Handles an event, and appends the actions that follow from it.
    pub(crate) fn handle(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        // These events come with every task, and few of them change how many workers are needed.
        let routine = matches!(event, Event::Submitted(_) | Event::Done { .. });
        match event {
            Event::Load { guest, weight, depth } => self.load(guest, weight, depth),
            Event::Unload(guest) => self.unload(guest),
            Event::Submitted(range) => self.submitted(range, now, actions),
            Event::SpawnFailed { worker, message } => self.spawn_failed(worker, message, now, actions),
            Event::WorkerReady(worker) => self.worker_ready(worker, now, actions),
            Event::Done { worker, tasks } => self.done(worker, &tasks, now, actions),
            Event::Suspended { worker, task } => self.suspended(worker, task, actions),
            Event::Resumed { worker, task } => self.resumed(worker, task),
            Event::Recalled { worker, taken, why } => self.recalled(worker, &taken, why, now, actions),
            Event::Probed { worker, seen } => self.probed(worker, seen, now, actions),
            Event::WorkerExited { worker, exit, begun, running, message } => {
                self.worker_exited(worker, ExitReport { exit, begun, running, message }, now, actions);
            }
            Event::Cancel(task) => self.cancel(task, actions),
            Event::Hold { job, below } => {
                self.guests.values_mut().for_each(|guest| guest.waiting.hold(job, below));
            }
            Event::Release { job, below } => {
                self.guests.values_mut().for_each(|guest| guest.waiting.release(job, below));
            }
            Event::CancelJob(job) => self.cancel_where(|range| range.job == job, actions),
            Event::CancelPending => self.cancel_where(|_| true, actions),
            Event::Kill(task) => self.kill(task, actions),
            Event::Resize { max } => self.resize(max),
            Event::Close => self.close(),
            Event::Terminate => self.terminate(actions),
            Event::Tick => self.tick(now, actions),
        }
        self.assign(now, actions);
        if !routine || self.may_need_scaling() {
            self.scale(now, actions);
        }
        self.schedule_probe(now);
    }

    /// When [`Event::Tick`] is due. `None` if never.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.next_scaling().into_iter().chain(self.deadlines.next()).min()
    }

    fn tick(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.expire(now, actions);
        self.kill_overdue(now, actions);
        self.probe(now, actions);
        self.retire_old(now);
    }
}
