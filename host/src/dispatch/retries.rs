//! A worker's exit, attributed to the tasks that it had: which are retried, and which is to blame.

use super::event::Action;
use super::range::Range;
use super::slot::WorkerState;
use super::state::Dispatcher;
use crate::error::{Clock, Phase, TaskError, WorkerExit};
use crate::ids::TaskId;

/// How often a task is retried whose workers were lost while it was suspended, or had ended with its record on the way.
/// It is not to blame for that, so `max_retries` does not count it, but the number must have a bound.
const MAX_LOST_WHILE_SUSPENDED: u16 = 50;
/// The number of workers that a task may lose that have not begun it. None of them need be its fault, so it is large.
const MAX_LOST_UNBEGUN: u16 = 1000;

/// How a worker's process ended, and what its control page said then.
pub(super) struct ExitReport {
    pub(super) exit: WorkerExit,
    pub(super) begun: Vec<TaskId>,
    pub(super) running: Option<TaskId>,
    pub(super) message: Option<String>,
}

/// Whether a task that had begun may be retried.
#[derive(Clone, Copy)]
enum Retry {
    /// The task has had an effect outside of its instance.
    Forbidden,
    /// `alone`: whether the worker had no other task.
    Allowed { alone: bool },
}

impl Dispatcher {
    /// Decides for every task of a dead worker whether it is retried.
    pub(super) fn retry_lost(
        &mut self,
        mut state: WorkerState,
        report: &ExitReport,
        actions: &mut Vec<Action>,
    ) {
        let alone = state.flight.len() == 1;
        let acted = state.flight.take_acted();
        for (task, range) in state.flight.drain_tasks() {
            if let Some(reason) = self.deadlines.ended(task) {
                self.fail(range, reason, actions);
            } else if state.stuck == Some(task) {
                let limit = range.policy.run_timeout.unwrap_or_default();
                self.fail(range, TaskError::Timeout { clock: Clock::Run, limit }, actions);
            } else if acted.contains(&task) {
                // This is the parent's own knowledge, and stands above the control page.
                self.attribute(task, range, Retry::Forbidden, report, actions);
            } else if !report.begun.contains(&task) {
                self.retry_unbegun(task, range, report, actions);
            } else if state.stuck.is_some() {
                self.enqueue(range);
            } else {
                self.attribute(task, range, Retry::Allowed { alone }, report, actions);
            }
        }
    }

    /// Sends a task again that had not begun, as its worker has told. It is not charged for that, but not for ever.
    fn retry_unbegun(
        &mut self,
        task: TaskId,
        mut range: Range,
        report: &ExitReport,
        actions: &mut Vec<Action>,
    ) {
        range.history.lost_unbegun = range.history.lost_unbegun.saturating_add(1);
        if range.history.lost_unbegun <= MAX_LOST_UNBEGUN {
            return self.enqueue(range);
        }
        let earlier = self.earlier_exits.remove(&task).unwrap_or_default();
        let cause = report.exit.clone();
        self.fail(range, TaskError::WorkerLost { cause, phase: Phase::Queued, earlier }, actions);
    }

    /// Attributes the end of a worker that crashed or was killed from outside to a task that had begun there: the task is
    /// retried, as a crash suspect if it may have caused the crash, or fails.
    fn attribute(
        &mut self,
        task: TaskId,
        mut range: Range,
        retry: Retry,
        report: &ExitReport,
        actions: &mut Vec<Action>,
    ) {
        let external = report.exit.is_external();
        // Without a hint of what was running every task that had begun may have been.
        let was_running = report.running.is_none_or(|running| running == task);
        // A sub-task is not run alone: the task that awaits it may be what keeps every worker busy.
        let blamed = match retry {
            Retry::Forbidden => true,
            Retry::Allowed { alone } => !external && (alone || (was_running && range.policy.depth > 0)),
        };
        range.history.record_loss(was_running);
        if blamed || is_exhausted(&range) {
            let phase = if was_running { Phase::Running } else { Phase::Suspended };
            let earlier = self.earlier_exits.remove(&task).unwrap_or_default();
            let cause = report.exit.clone();
            self.fail(range, TaskError::WorkerLost { cause, phase, earlier }, actions);
            return;
        }
        if was_running {
            self.earlier_exits.entry(task).or_default().push(report.exit.clone());
        }
        // A suspect runs alone, and if its worker crashes again there is no doubt.
        range.history.suspect |= was_running && !external;
        self.enqueue(range);
    }
}

/// Whether a task has been retried as often as it may be.
fn is_exhausted(range: &Range) -> bool {
    range.history.lost_while_running > u16::from(range.policy.max_retries)
        || range.history.lost_while_suspended > MAX_LOST_WHILE_SUSPENDED
}
