//! The clock of a task's run timeout.

use std::time::{Duration, Instant};

/// The time that a task has run or slept. The time of its other suspensions does not count; until the clock has resumed, `elapsed` is
/// not valid.
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

    /// Stops before a host function suspends the task, which calls `resume` afterwards. To be called when a yield before
    /// is known to be over.
    pub(super) fn pause(&mut self) {
        debug_assert!(!self.yielded, "the time of the yield would count");
        self.before += self.since.elapsed();
    }

    pub(crate) fn resume(&mut self) {
        self.since = Instant::now();
    }

    /// Restarts after a suspension of which `slept` counts.
    pub(crate) fn resume_after_sleep(&mut self, slept: Duration) {
        self.before += slept;
        self.resume();
    }

    /// Stops before the task yields between two instructions of the guest, so that no host function calls `resume`.
    pub(super) fn pause_for_yield(&mut self) {
        self.pause();
        self.yielded = true;
    }

    /// Restarts the clock at `resumed_at`, if it was paused for a yield.
    pub(super) fn resume_after_yield(&mut self, resumed_at: impl FnOnce() -> Instant) {
        if std::mem::take(&mut self.yielded) {
            self.since = resumed_at();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn no_time_counts_twice_after_a_yield() {
        let mut clock = RunClock::start();
        clock.since -= HOUR;
        clock.pause_for_yield();
        clock.resume_after_yield(|| Instant::now() - HOUR);
        clock.pause();
        clock.resume();
        clock.resume_after_yield(|| unreachable!("it has resumed"));
        assert!((2 * HOUR..3 * HOUR).contains(&clock.elapsed()), "{:?}", clock.elapsed());
    }
}
