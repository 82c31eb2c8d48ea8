//! A worker's process is gone: which of its tasks run again, and which is to blame.

use std::time::Instant;

use super::range::Range;
use super::staffing::{Serving, Slot};
use super::{Action, Dispatcher, Mode};
use crate::error::{Clock, Phase, TaskError, WorkerExit};
use crate::ids::{GuestKey, TaskId, WorkerId};

/// A task that had begun in a dead worker without running at that moment was suspended, or had ended and
/// its record was on its way. That is nobody's fault, but it must have an end too.
const MAX_LOSSES: u8 = 50;

/// How a process ended, and what is known beside.
pub(super) struct Exit {
    pub(super) exit: WorkerExit,
    pub(super) begun: Vec<TaskId>,
    pub(super) running: Option<TaskId>,
    pub(super) message: Option<String>,
}

/// Whether a task that had begun may run again.
#[derive(Clone, Copy)]
enum Again {
    /// What it has done others have seen.
    Never,
    /// `alone` if no other task can be to blame.
    May { alone: bool },
}

impl Dispatcher {
    pub(super) fn worker_exited(
        &mut self,
        worker: WorkerId,
        exit: Exit,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(slot) = self.slot(worker) else { return };
        let (serving, was) = match std::mem::replace(slot, Slot::Vacant) {
            Slot::Vacant => return,
            Slot::Starting(serving) => (serving, "starting"),
            Slot::Ready(serving) => (serving, "ready"),
            Slot::Ending(serving) => (serving, "ending"),
        };
        let (guest, worked, held) = (serving.guest, serving.worked, serving.flight.len() > 0);
        let message = exit.message.clone().unwrap_or_else(|| exit.exit.to_string());
        let external = exit.exit.is_external();
        if self.mode != Mode::Terminated {
            self.settle_lost(*serving, &exit, actions);
        }
        match was {
            "starting" => self.failed(guest, message, now, actions),
            // One that ends without ever having done anything, and by itself, most likely never will.
            "ready" if !held && !worked && !external => self.failed(guest, message, now, actions),
            "ready" if !external => self.crashed(guest, message, now, actions),
            _ => {}
        }
    }

    fn crashed(&mut self, guest: GuestKey, message: String, now: Instant, actions: &mut Vec<Action>) {
        if let Some(tenant) = self.guests.get_mut(&guest)
            && tenant.breaker.crashed(message, now)
        {
            self.fail_fast(guest, now, actions);
        }
    }

    /// Decides, for every task that a dead worker had, whether it runs again.
    fn settle_lost(&mut self, mut serving: Serving, exit: &Exit, actions: &mut Vec<Action>) {
        let alone = serving.flight.len() == 1;
        let acted = serving.flight.take_acted();
        for (task, range) in serving.flight.drain_tasks() {
            if let Some(reason) = self.deadlines.ended(task) {
                actions.push(Action::Fail { range, error: reason });
            } else if serving.stuck == Some(task) {
                let limit = range.policy.run_timeout.unwrap_or_default();
                let error = TaskError::Timeout { clock: Clock::Run, limit };
                actions.push(Action::Fail { range, error });
            } else if !exit.begun.contains(&task) {
                self.wait(range);
            } else if acted.contains(&task) {
                self.charge(task, range, Again::Never, exit, actions);
            } else if serving.stuck.is_some() {
                self.wait(range);
            } else {
                self.charge(task, range, Again::May { alone }, exit, actions);
            }
        }
    }

    /// A task had begun in a worker that somebody ended, or that crashed.
    fn charge(
        &mut self,
        task: TaskId,
        mut range: Range,
        again: Again,
        exit: &Exit,
        actions: &mut Vec<Action>,
    ) {
        let external = exit.exit.is_external();
        let hinted = exit.running.is_none_or(|running| running == task);
        let phase = if hinted { Phase::Running } else { Phase::Suspended };
        if hinted {
            range.past.deaths += 1;
        } else {
            range.past.losses += 1;
        }
        // A sub-task is not run alone: the task that waits for it may be what keeps every worker busy.
        let blamed = match again {
            Again::Never => true,
            Again::May { alone } => !external && (alone || (hinted && range.policy.depth > 0)),
        };
        if blamed || range.past.deaths > range.policy.max_retries || range.past.losses > MAX_LOSSES {
            let earlier = self.evidence.remove(&task).unwrap_or_default();
            let error = TaskError::WorkerLost { cause: exit.exit.clone(), phase, earlier };
            actions.push(Action::Fail { range, error });
            return;
        }
        if hinted {
            self.evidence.entry(task).or_default().push(exit.exit.clone());
        }
        // A crash is somebody's fault. The page's hint says whose it may be, and without a hint
        // everybody who had begun is suspected; who is, runs alone, and then there is no doubt.
        range.past.alone |= hinted && !external;
        self.wait(range);
    }
}
