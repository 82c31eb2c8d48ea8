//! A circuit breaker for a guest's workers: when they are started again after failures, and when tasks fail fast.

use std::time::{Duration, Instant};

/// The wait after the first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(10);
/// The breaker opens after this number of failures in a row: a task must not wait for a worker that will not come.
const FAILURES: u32 = 6;
/// It also opens after this number of crashes in a row without a task that ended in between.
const CRASHES: u32 = 10;
/// How long it stays open the first time; it doubles each time.
const FIRST_OPEN: Duration = Duration::from_secs(1);
const LONGEST_OPEN: Duration = Duration::from_secs(30);

/// Counts failures in a row, over all workers of one guest.
///
/// Closed, workers are started freely, with a wait after each failure. Open, none is started. Half-open, when that time
/// is over, one is started: a task that ends there closes the breaker, and a failure opens it for longer.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    crashes: u32,
    /// No worker is started until then.
    blocked_until: Option<Instant>,
    /// How often the breaker has opened without closing since.
    opened: u32,
    /// Why it opened last.
    cause: Option<String>,
}

impl Breaker {
    /// Counts a worker that could not start, or exited before it had a task. Returns whether the breaker opens.
    pub(super) fn failed(&mut self, message: String, now: Instant) -> bool {
        self.failures += 1;
        if self.failures >= FAILURES || self.opened > 0 {
            self.open(message, now);
            return true;
        }
        self.blocked_until = Some(now + FIRST_WAIT * 2u32.pow(self.failures - 1));
        false
    }

    /// Counts a worker that crashed. Returns whether the breaker opens.
    pub(super) fn crashed(&mut self, message: String, now: Instant) -> bool {
        self.crashes += 1;
        if self.crashes >= CRASHES {
            self.open(message, now);
            return true;
        }
        false
    }

    fn open(&mut self, message: String, now: Instant) {
        let time = FIRST_OPEN.saturating_mul(2u32.saturating_pow(self.opened)).min(LONGEST_OPEN);
        (self.failures, self.crashes) = (0, 0);
        self.opened = self.opened.saturating_add(1);
        self.blocked_until = Some(now + time);
        self.cause = Some(message);
    }

    /// A task has ended in a worker: the breaker closes. A worker that has only started may still be good for nothing.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Whether a worker may be started now while `starting` others are.
    pub(super) fn may_start(&self, starting: usize, now: Instant) -> bool {
        self.blocked_until.is_none_or(|until| until <= now) && (self.opened == 0 || starting == 0)
    }

    /// Until when no worker is started. It may have passed, until [`clear_elapsed`](Self::clear_elapsed) is called.
    pub(super) fn blocked_until(&self) -> Option<Instant> {
        self.blocked_until
    }

    pub(super) fn clear_elapsed(&mut self, now: Instant) {
        self.blocked_until = self.blocked_until.filter(|until| *until > now);
    }

    /// Why tasks fail fast, while the breaker is open.
    pub(super) fn cause(&self, now: Instant) -> Option<&str> {
        self.blocked_until.filter(|until| *until > now).and(self.cause.as_deref())
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
            let until = breaker.blocked_until().unwrap();
            assert!(!breaker.may_start(0, now) && breaker.cause(now).is_none());
            waits.push((until - now).as_millis());
            now = until;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160]);
        assert_eq!(breaker.cause(now), Some("no such file"));
        now += FIRST_OPEN;
        assert_eq!(breaker.cause(now), None);
        assert!(breaker.may_start(0, now) && !breaker.may_start(1, now), "one is tried");
        assert!(breaker.failed("still none".into(), now), "one failure is enough now");
        assert_eq!(breaker.blocked_until(), Some(now + 2 * FIRST_OPEN));
        now += 2 * FIRST_OPEN;
        breaker.succeeded();
        assert!(breaker.may_start(3, now), "it is closed");
    }

    #[test]
    fn crashes_in_a_row_open_it() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 1..CRASHES {
            assert!(!breaker.crashed("boom".into(), now));
        }
        breaker.succeeded();
        for _ in 1..CRASHES {
            assert!(!breaker.crashed("boom".into(), now));
        }
        assert!(breaker.crashed("boom".into(), now));
        assert_eq!(breaker.cause(now), Some("boom"));
    }
}
