//! The exchange between the worker's loop and the running task when the task is suspended.

use std::time::Instant;

use parking_lot::Mutex;

/// The reason why a task is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SuspendReason {
    /// The task has yielded to others of its worker, and can be resumed at any time.
    Yielded,
    /// The task sleeps, or was woken, until this time.
    Until(Instant),
    /// The task waits for credit from the parent, which does not know that it waits.
    Credit,
    /// The task waits for an answer from the parent, which knows that it waits.
    Answer,
}

impl SuspendReason {
    /// Returns whether the parent has to be informed that the task is suspended.
    pub(crate) fn is_reported(self) -> bool {
        matches!(self, SuspendReason::Until(_) | SuspendReason::Credit)
    }
}

/// The state of the running task between two polls. One task runs at a time, so a worker has one.
#[derive(Debug)]
pub(crate) struct YieldState(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// The reason that is valid if the running task is suspended next.
    reason: SuspendReason,
    /// The time at which a suspended task was last resumed.
    resumed_at: Instant,
    /// Whether other tasks of the worker are suspended.
    others_wait: bool,
}

impl Default for YieldState {
    fn default() -> Self {
        let (reason, resumed_at) = (SuspendReason::Credit, Instant::now());
        Self(Mutex::new(Inner { reason, resumed_at, others_wait: false }))
    }
}

impl YieldState {
    /// Prepares for the first poll of a task. `others_wait` tells whether other tasks are suspended.
    pub(crate) fn start(&self, others_wait: bool) {
        let mut state = self.0.lock();
        (state.reason, state.others_wait) = (SuspendReason::Credit, others_wait);
    }

    /// Prepares for a further poll of a suspended task.
    pub(crate) fn resume(&self, others_wait: bool) {
        self.start(others_wait);
        self.0.lock().resumed_at = Instant::now();
    }

    /// Sets the reason why the running task is suspended next.
    pub(crate) fn set_reason(&self, reason: SuspendReason) {
        self.0.lock().reason = reason;
    }

    /// Returns the reason why the task that was just polled is suspended.
    pub(crate) fn reason(&self) -> SuspendReason {
        self.0.lock().reason
    }

    /// Returns the time at which the running task, which has yielded before, was resumed.
    pub(crate) fn resumed_at(&self) -> Instant {
        self.0.lock().resumed_at
    }

    /// Returns whether the running task has to yield, because others of its worker are suspended.
    pub(crate) fn should_yield(&self) -> bool {
        let mut state = self.0.lock();
        if state.others_wait {
            state.reason = SuspendReason::Yielded;
        }
        state.others_wait
    }
}
