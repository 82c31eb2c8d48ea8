//! When a guest's workers that fail are tried again, and when its tasks fail fast instead.

use std::time::{Duration, Instant};

/// The wait before the first new attempt; it doubles with each failure.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// After so many failures in a row the breaker opens: tasks must not wait for what does not come.
const FAILURES: u32 = 6;
/// After so many crashes in a row, with no task ended in between, it opens too.
const CRASHES: u32 = 10;
/// How long it stays open the first time; it doubles each time.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(30);

/// Counts failures in a row, over all workers of one guest.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    crashes: u32,
    /// No worker is started before this.
    rest_until: Option<Instant>,
    /// How often it has opened in a row, and why it did last. It is open until the rest is over, and then tried
    /// with one worker.
    opened: u32,
    cause: Option<String>,
}

impl Breaker {
    /// A worker could not start, or ended before it had done anything. True if the breaker opens.
    pub(super) fn failed(&mut self, message: String, now: Instant) -> bool {
        self.failures += 1;
        if self.failures >= FAILURES || self.opened > 0 {
            self.open(message, now);
            return true;
        }
        self.rest_until = Some(now + FIRST_WAIT * 2u32.pow(self.failures - 1));
        false
    }

    /// A worker's task has brought it down. True if the breaker opens.
    pub(super) fn crashed(&mut self, message: String, now: Instant) -> bool {
        self.crashes += 1;
        if self.crashes >= CRASHES {
            self.open(message, now);
            return true;
        }
        false
    }

    fn open(&mut self, message: String, now: Instant) {
        let rest = FIRST_REST.saturating_mul(2u32.saturating_pow(self.opened)).min(LONGEST_REST);
        (self.failures, self.crashes) = (0, 0);
        self.opened = self.opened.saturating_add(1);
        self.rest_until = Some(now + rest);
        self.cause = Some(message);
    }

    /// A worker has started. Whether it can do anything is not known yet.
    pub(super) fn started(&mut self) {
        self.failures = 0;
    }

    /// A task has ended as tasks do: the guest's workers work.
    pub(super) fn worked(&mut self) {
        *self = Self::default();
    }

    /// Whether a worker may be started now. After an open breaker's rest that is one at a time.
    pub(super) fn may_start(&self, starting: usize, now: Instant) -> bool {
        self.rest_until.is_none_or(|at| at <= now) && (self.opened == 0 || starting == 0)
    }

    /// Until when nothing is started. It may lie in the past as long as nobody has called `wake`.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        self.rest_until
    }

    /// Ends a rest that is over.
    pub(super) fn wake(&mut self, now: Instant) {
        self.rest_until = self.rest_until.filter(|at| *at > now);
    }

    /// Why tasks fail at once, as long as they do.
    pub(super) fn cause(&self, now: Instant) -> Option<&str> {
        self.rest_until.filter(|at| *at > now).and(self.cause.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_then_it_opens_then_it_is_tried_with_one_and_closes() {
        let mut now = Instant::now();
        let mut breaker = Breaker::default();
        let mut waits = Vec::new();
        while !breaker.failed("no such file".into(), now) {
            let until = breaker.rests_until().unwrap();
            assert!(!breaker.may_start(0, now) && breaker.cause(now).is_none());
            waits.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160]);
        assert_eq!(breaker.cause(now), Some("no such file"));
        now += FIRST_REST;
        assert_eq!(breaker.cause(now), None);
        assert!(breaker.may_start(0, now) && !breaker.may_start(1, now), "one is tried");
        assert!(breaker.failed("still none".into(), now), "one failure is enough now");
        assert_eq!(breaker.rests_until(), Some(now + 2 * FIRST_REST));
        now += 2 * FIRST_REST;
        breaker.started();
        breaker.worked();
        assert!(breaker.may_start(3, now), "it is closed");
    }

    #[test]
    fn crashes_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..CRASHES {
            assert!(!breaker.crashed("boom".into(), now));
        }
        breaker.worked();
        for _ in 1..CRASHES {
            assert!(!breaker.crashed("boom".into(), now));
        }
        assert!(breaker.crashed("boom".into(), now));
        assert_eq!(breaker.cause(now), Some("boom"));
    }
}
