//! The task that an instance runs, and the token by which the parent cancels it.

use std::sync::Arc;
use std::time::Duration;

use wpool_wire::control::ControlPage;
use wpool_wire::ids::{Place, TaskId};

/// A task to start: its id, claim word, run timeout, credit and place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TaskSpec {
    pub(crate) id: TaskId,
    /// The index of the task's claim word.
    pub(crate) claim: u32,
    /// The time that it may run; `None` if there is no limit.
    pub(crate) run_timeout: Option<Duration>,
    /// The first credit for emitted values; `None` if they are discarded.
    pub(crate) emits: Option<u64>,
    pub(crate) place: Place,
    /// Whether its log is sent while it runs.
    pub(crate) follow_log: bool,
}

/// Tells whether the parent has requested the end of an instance's task.
#[derive(Debug, Clone)]
pub(crate) struct CancelToken {
    control: Arc<ControlPage>,
    /// The task and its claim word; `None` for a description or an initializer, whose end cannot be requested.
    task: Option<(TaskId, u32)>,
}

impl CancelToken {
    pub(crate) fn new(control: Arc<ControlPage>) -> Self {
        Self { control, task: None }
    }

    pub(crate) fn start(&mut self, spec: &TaskSpec) {
        self.task = Some((spec.id, spec.claim));
    }

    /// Returns the running task; `None` for a description or an initializer.
    pub(crate) fn task(&self) -> Option<TaskId> {
        self.task.map(|(id, _)| id)
    }

    pub(crate) fn end_requested(&self) -> bool {
        self.task.is_some_and(|(id, claim)| self.control.end_requested(claim, id))
    }
}
