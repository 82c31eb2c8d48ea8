//! Calls that go over whole shared objects: they cost this process time and their tasks little, so they may take a share
//! of a processor, and have to wait beyond that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ids::TaskId;

/// A call that takes less is not counted.
const LIGHT: Duration = Duration::from_micros(20);
/// Work is paid with that many times its duration: it takes a quarter of a processor at most.
const PRICE: u32 = 4;
/// The time that may be owed before the next call has to wait.
const CREDIT: Duration = Duration::from_millis(400);

/// The account of such calls, and the tasks whose next call waits for it.
#[derive(Debug, Default)]
pub(super) struct HeavyWork {
    /// When all work so far is paid.
    paid_at: Option<Instant>,
    postponed: VecDeque<TaskId>,
}

impl HeavyWork {
    /// Pays for a call that takes about `cost`. Returns false if it has to wait.
    pub(super) fn pay(&mut self, cost: Duration, now: Instant) -> bool {
        if cost < LIGHT {
            return true;
        }
        let has_credit = self.has_credit(now);
        if has_credit {
            let paid_at = self.paid_at.map_or(now, |at| at.max(now));
            self.paid_at = Some(paid_at + cost * PRICE);
        }
        has_credit
    }

    /// Has the next call of a task wait.
    pub(super) fn postpone(&mut self, task: TaskId) {
        self.postponed.push_back(task);
    }

    /// Takes the task whose call has waited longest, if there is credit.
    pub(super) fn next_postponed(&mut self, now: Instant) -> Option<TaskId> {
        if self.has_credit(now) { self.postponed.pop_front() } else { None }
    }

    fn has_credit(&self, now: Instant) -> bool {
        self.paid_at.is_none_or(|at| at.saturating_duration_since(now) <= CREDIT)
    }

    /// When a call that waits can be made.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.paid_at.and_then(|at| at.checked_sub(CREDIT)).filter(|_| !self.postponed.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_takes_a_quarter_of_the_time_and_light_calls_nothing() {
        let (mut heavy, start) = (HeavyWork::default(), Instant::now());
        assert!((0..1_000_000).all(|_| heavy.pay(LIGHT / 2, start)), "they are not counted");
        let cost = Duration::from_millis(1);
        let (mut now, mut worked) = (start, Duration::ZERO);
        while now < start + Duration::from_secs(10) {
            match heavy.pay(cost, now) {
                true => worked += cost,
                false => now += cost,
            }
        }
        let share = worked.as_secs_f64() / 10.0;
        assert!((0.24..0.27).contains(&share), "{share}");
        heavy.postpone(TaskId(1));
        let due = heavy.next_due().unwrap();
        assert_eq!((heavy.next_postponed(due - cost), heavy.next_postponed(due)), (None, Some(TaskId(1))));
    }
}
