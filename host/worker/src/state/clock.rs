//! The clock of a task's run timeout.

use std::time::{Duration, Instant};

/// The time that a task has run. It stands still while the task is suspended.
#[derive(Debug)]
pub(crate) struct RunClock {
    since: Instant,
    before: Duration,
    /// The task has yielded, and the time of its resumption is not yet known here.
    yielded: bool,
}

impl RunClock {
    pub(crate) fn start() -> Self {
        Self { since: Instant::now(), before: Duration::ZERO, yielded: false }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.before + self.since.elapsed()
    }

    /// The task is about to be suspended by a host function, which calls `resume` afterwards.
    pub(crate) fn pause(&mut self) {
        self.before += self.since.elapsed();
    }

    pub(crate) fn resume(&mut self) {
        self.since = Instant::now();
    }

    /// The task is about to yield between two instructions of the guest, so no host function will call `resume`.
    pub(crate) fn pause_for_yield(&mut self) {
        self.pause();
        self.yielded = true;
    }

    /// Restarts the clock at `resumed_at`, if it was paused for a yield.
    pub(crate) fn resume_after_yield(&mut self, resumed_at: impl FnOnce() -> Instant) {
        if std::mem::take(&mut self.yielded) {
            self.since = resumed_at();
        }
    }
}
