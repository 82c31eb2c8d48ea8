//! The pool of a run and the terms of its tasks: the settings, and how they are applied.

use std::time::Duration;

use wpool::{BuildError, ClockPolicy, Guest, Isolation, Pool, RandomPolicy, RawTask, SubTasks};

use crate::exit_code::Failure;

/// The settings of a pool. `None` is no limit, except where it says otherwise.
#[derive(Debug, PartialEq)]
pub(crate) struct PoolSettings {
    /// The number of workers; `None` for one per processor.
    pub(crate) workers: Option<usize>,
    pub(crate) timeout: Option<Duration>,
    /// In bytes.
    pub(crate) memory: Option<u64>,
    pub(crate) fuel: Option<u64>,
    /// In bytes.
    pub(crate) max_result: u32,
    /// In bytes.
    pub(crate) max_log: u32,
    pub(crate) isolation: Isolation,
    pub(crate) retries: u8,
    pub(crate) max_tasks_per_worker: Option<u32>,
    /// How deep tasks may submit tasks; zero forbids it.
    pub(crate) sub_task_depth: u8,
    pub(crate) clock: ClockPolicy,
    pub(crate) random: RandomPolicy,
    /// Whether tasks may know their worker.
    pub(crate) worker_info: bool,
}

impl PoolSettings {
    /// Starts the pool.
    pub(crate) fn start(&self, guest: Guest) -> Result<Pool, Failure> {
        let sub_tasks = SubTasks { depth: self.sub_task_depth, ..SubTasks::default() };
        let mut builder = Pool::builder(guest)
            .timeout(self.timeout)
            .memory(self.memory)
            .fuel(self.fuel)
            .max_result(self.max_result)
            .max_log(self.max_log)
            .isolation(self.isolation)
            .retries(self.retries)
            .max_tasks_per_worker(self.max_tasks_per_worker)
            .shared_memory(u64::MAX)
            .clock(self.clock)
            .random(self.random)
            .worker_info(self.worker_info)
            .sub_tasks((self.sub_task_depth > 0).then_some(sub_tasks));
        if let Some(workers) = self.workers {
            builder = builder.workers(workers);
        }
        builder.build().map_err(|error| match error {
            BuildError::Setting(_) => Failure::input(error),
            BuildError::InitArgument { .. } => Failure::input(error).hint("give it with --init"),
            error => Failure::start(error),
        })
    }

    /// Returns the part of a journal's key that all inputs share: the guest, the task and its limits. The text
    /// is part of the journal's format: a journal with another one has no results for this run.
    pub(crate) fn journal_context(&self, guest: &str, task: &str) -> String {
        let Self { timeout, memory, fuel, max_result, isolation, sub_task_depth, .. } = self;
        let limits = format!("Limit({timeout:?}), Limit({memory:?}), {fuel:?}, {max_result}");
        // The defaults are not named, as versions without policies had no others.
        let policy = match (self.clock, self.random, self.worker_info) {
            (ClockPolicy::Coarse, RandomPolicy::Os, false) => String::new(),
            policy => format!(", {policy:?}"),
        };
        format!("{guest} {task} ({limits}, {isolation:?}, {sub_task_depth}{policy})")
    }
}

/// The terms of a run's tasks.
#[derive(Debug, PartialEq)]
pub(crate) struct TaskTerms {
    /// How long one task may wait before it begins; `None` for no limit.
    pub(crate) queue_timeout: Option<Duration>,
    /// How long the whole run may take; `None` for no limit.
    pub(crate) deadline: Option<Duration>,
    pub(crate) priority: i32,
}

impl TaskTerms {
    /// Returns the task of that name, under these terms.
    pub(crate) fn task(&self, pool: &Pool, name: &str) -> Result<RawTask, Failure> {
        let task = pool.raw_task(name).map_err(Failure::input)?;
        Ok(task.queue_timeout(self.queue_timeout).map_timeout(self.deadline).priority(self.priority))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn journals_of_earlier_versions_stay_valid() {
        let mut settings = PoolSettings {
            workers: Some(3),
            timeout: Some(Duration::from_secs(60)),
            memory: None,
            fuel: Some(7),
            max_result: 1000,
            max_log: 10,
            isolation: Isolation::Task,
            retries: 2,
            max_tasks_per_worker: None,
            sub_task_depth: 1,
            clock: ClockPolicy::Coarse,
            random: RandomPolicy::Os,
            worker_info: false,
        };
        assert_eq!(
            settings.journal_context("0123", "square"),
            "0123 square (Limit(Some(60s)), Limit(None), Some(7), 1000, Task, 1)"
        );
        settings.random = RandomPolicy::Denied;
        assert_eq!(
            settings.journal_context("0123", "square"),
            "0123 square (Limit(Some(60s)), Limit(None), Some(7), 1000, Task, 1, (Coarse, Denied, false))"
        );
    }
}
