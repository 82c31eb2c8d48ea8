//! The tasks of one guest that wait, and its share of the pool: weighted fair queueing by the time that tasks have run.

use std::time::Duration;

use super::breaker::Breaker;
use super::waiting::Waiting;

#[derive(Debug)]
pub(super) struct GuestQueue {
    pub(super) waiting: Waiting,
    pub(super) breaker: Breaker,
    /// The guest takes no more tasks.
    pub(super) unloading: bool,
    /// The greatest depth of a sub-task.
    pub(super) max_depth: u8,
    weight: u32,
    /// The time that the guest's tasks have run, divided by its weight, in nanoseconds.
    virtual_time: u64,
    /// The average run time of each function's tasks; `None` until one has ended.
    averages: Vec<Option<Duration>>,
}

impl GuestQueue {
    pub(super) fn new(weight: u32, max_depth: u8) -> Self {
        Self {
            waiting: Waiting::default(),
            breaker: Breaker::default(),
            unloading: false,
            max_depth,
            weight: weight.max(1),
            virtual_time: 0,
            averages: Vec::new(),
        }
    }

    /// The guest with the least virtual time is served first.
    pub(super) fn virtual_time(&self) -> Duration {
        Duration::from_nanos(self.virtual_time)
    }

    /// Raises the virtual time of a guest that was idle to `least`, the least of the active guests: an idle guest earns
    /// no credit.
    pub(super) fn raise_virtual_time(&mut self, least: Option<Duration>) {
        let least = least.and_then(|least| u64::try_from(least.as_nanos()).ok());
        self.virtual_time = self.virtual_time.max(least.unwrap_or(0));
    }

    /// Accounts for the run time of a task. The average moves by an eighth of the difference.
    pub(super) fn record_run(&mut self, function: u32, run: Duration) {
        let nanos = u64::try_from(run.as_nanos()).unwrap_or(u64::MAX);
        self.virtual_time = self.virtual_time.saturating_add(nanos / u64::from(self.weight));
        let function = function as usize;
        if self.averages.len() <= function {
            self.averages.resize(function + 1, None);
        }
        let average = &mut self.averages[function];
        *average = Some(average.map_or(run, |average| average - average / 8 + run / 8));
    }

    /// The average run time of a function's tasks; `None` until one has ended.
    pub(super) fn average_run(&self, function: u32) -> Option<Duration> {
        self.averages.get(function as usize).copied().flatten()
    }
}
