//! The tasks of a worker that have started and are suspended.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Instant;

use wpool_wire::control::MAX_STARTED;
use wpool_wire::ids::TaskId;

use crate::state::SuspendReason;

/// One suspended task.
pub(super) struct SuspendedTask<'a> {
    pub(super) id: TaskId,
    pub(super) future: Pin<Box<dyn Future<Output = io::Result<()>> + 'a>>,
    pub(super) reason: SuspendReason,
    /// Whether the suspension was reported to the parent.
    pub(super) reported: bool,
}

impl SuspendedTask<'_> {
    /// Returns whether the task is to be resumed at `now`.
    pub(super) fn is_ready(&self, now: Instant) -> bool {
        match self.reason {
            SuspendReason::Yielded => true,
            SuspendReason::Until(time) => time <= now,
            SuspendReason::Credit | SuspendReason::Answer => false,
        }
    }
}

/// All suspended tasks of a worker.
#[derive(Default)]
pub(super) struct SuspendedTasks<'a>(Vec<SuspendedTask<'a>>);

impl<'a> SuspendedTasks<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether another task can start: a slot is free for it.
    pub(super) fn has_free_slot(&self) -> bool {
        self.0.len() < MAX_STARTED as usize
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut SuspendedTask<'a>> {
        self.0.get_mut(index)
    }

    pub(super) fn add(&mut self, task: SuspendedTask<'a>) {
        self.0.push(task);
    }

    /// Removes the task at `index`, which the last one replaces.
    pub(super) fn remove(&mut self, index: usize) -> SuspendedTask<'a> {
        self.0.swap_remove(index)
    }

    /// Makes a task ready, so that it looks at its mailbox. Returns false if it has ended.
    pub(super) fn wake(&mut self, id: TaskId) -> bool {
        let Some(task) = self.0.iter_mut().find(|task| task.id == id) else { return false };
        if task.reason != SuspendReason::Yielded {
            task.reason = SuspendReason::Until(Instant::now());
        }
        true
    }

    /// Returns whether a task has yielded.
    pub(super) fn any_yielded(&self) -> bool {
        self.0.iter().any(|task| task.reason == SuspendReason::Yielded)
    }

    /// Returns the first point in time at which a task is to be resumed.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        let times = self.0.iter().filter_map(|task| match task.reason {
            SuspendReason::Until(time) => Some(time),
            SuspendReason::Yielded | SuspendReason::Credit | SuspendReason::Answer => None,
        });
        times.min()
    }
}
