//! One guest of the pool: what waits for it, what it has used, and how its workers fare.

use std::time::Duration;

use super::breaker::Breaker;
use super::waiting::Waiting;

#[derive(Debug)]
pub(super) struct Tenant {
    pub(super) waiting: Waiting,
    pub(super) breaker: Breaker,
    /// No more tasks will come.
    pub(super) leaving: bool,
    /// How deep sub-tasks may lie below a task.
    pub(super) depth: u8,
    weight: u32,
    /// Time that its tasks have run, divided by its weight, in nanoseconds.
    used: u64,
    /// The average time of each function's tasks, once there is one.
    times: Vec<Option<Duration>>,
}

impl Tenant {
    pub(super) fn new(weight: u32, depth: u8) -> Self {
        Self {
            waiting: Waiting::default(),
            breaker: Breaker::default(),
            leaving: false,
            depth,
            weight: weight.max(1),
            used: 0,
            times: Vec::new(),
        }
    }

    /// What it has used of the pool's time, for its weight. Who has used least is served first.
    pub(super) fn used(&self) -> Duration {
        Duration::from_nanos(self.used)
    }

    /// Who comes anew starts where the one is that has used least.
    pub(super) fn catch_up(&mut self, least: Option<Duration>) {
        let least = least.and_then(|least| u64::try_from(least.as_nanos()).ok());
        self.used = self.used.max(least.unwrap_or(0));
    }

    /// A task has run. Keeps a moving average: an eighth of it is the latest task.
    pub(super) fn measure(&mut self, function: u32, run: Duration) {
        let nanos = u64::try_from(run.as_nanos()).unwrap_or(u64::MAX);
        self.used = self.used.saturating_add(nanos / u64::from(self.weight));
        let function = function as usize;
        if self.times.len() <= function {
            self.times.resize(function + 1, None);
        }
        let average = &mut self.times[function];
        *average = Some(average.map_or(run, |average| average - average / 8 + run / 8));
    }

    pub(super) fn average(&self, function: u32) -> Option<Duration> {
        self.times.get(function as usize).copied().flatten()
    }
}
