//! `--retry N`: runs failed tasks again, each after a time that doubles, while the map goes on.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use wpool::{Clock, Completed, RawArguments, RawTask, TaskError, TaskFuture, TaskLog, Undecoded};

use crate::feed::Input;

/// The time before a task runs again for the first time, and the longest one.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// The results that are held back at most, because an earlier one is not final.
const MAX_HELD: usize = 4096;
/// The bytes of such results.
const MAX_BYTES: usize = 64 << 20;

/// The results of a map on their way to the output: those of failed tasks come when their last run has ended.
pub(crate) struct Retries<'a> {
    task: &'a RawTask,
    max: u32,
    ordered: bool,
    /// When the whole run must have ended.
    end_by: Option<Instant>,
    /// The arguments of the tasks that have no final result, by the indices of the tasks.
    arguments: HashMap<u64, RawArguments>,
    again: Vec<Again>,
    /// Results in the order of the output; `None` for those that are not final.
    held: VecDeque<(u64, Option<Completed>)>,
    /// The bytes of the results in `held`.
    bytes: usize,
}

/// A task that is to run again.
struct Again {
    nth: u64,
    /// The number of runs that have failed.
    failures: u32,
    last: Completed,
    due: Instant,
    future: Option<TaskFuture<Undecoded>>,
}

impl<'a> Retries<'a> {
    pub(crate) fn new(task: &'a RawTask, max: u32, ordered: bool, deadline: Option<Duration>) -> Self {
        let end_by = deadline.and_then(|limit| Instant::now().checked_add(limit));
        let (arguments, again, held) = (HashMap::new(), Vec::new(), VecDeque::new());
        Self { task, max, ordered, end_by, arguments, again, held, bytes: 0 }
    }

    /// Keeps the arguments of the map's task `nth`.
    pub(crate) fn keep(&mut self, nth: u64, input: &Input) {
        if let (1.., Ok(arguments)) = (self.max, input) {
            self.arguments.insert(nth, arguments.clone());
        }
    }

    /// Takes a result of the map. `failed` gets the log of a run that is not the last.
    pub(crate) fn ended(&mut self, nth: u64, completed: Completed, failed: impl FnOnce(u64, &TaskLog)) {
        let is_final = self.max == 0 || !may_run_again(&completed) || !self.arguments.contains_key(&nth);
        if is_final {
            self.arguments.remove(&nth);
            self.bytes += size(&completed);
            self.held.push_back((nth, Some(completed)));
            return;
        }
        failed(nth, &completed.log);
        if self.ordered {
            self.held.push_back((nth, None));
        }
        let due = Instant::now() + delay(1);
        self.again.push(Again { nth, failures: 1, last: completed, due, future: None });
    }

    /// Whether a task is to run again, or runs.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.again.is_empty()
    }

    /// Whether so many results are held back that the map has to wait.
    pub(crate) fn is_full(&self) -> bool {
        self.is_waiting() && (self.held.len() + self.again.len() >= MAX_HELD || self.bytes >= MAX_BYTES)
    }

    /// Starts the tasks whose time has come, and takes the results of those that have ended. With `stop` none is
    /// started any more, and the failures so far are final.
    pub(crate) fn advance(&mut self, stop: bool, mut failed: impl FnMut(u64, &TaskLog)) {
        let now = Instant::now();
        let stop = stop || self.end_by.is_some_and(|end| end <= now);
        for mut again in std::mem::take(&mut self.again) {
            match &again.future {
                None if stop => self.finish(again.nth, again.last),
                None if again.due > now => self.again.push(again),
                None => {
                    let left = self.end_by.map(|end| end - now);
                    let arguments = self.arguments.get(&again.nth).cloned().unwrap_or_default();
                    // The pool takes no more tasks when it is closed, and then the failure is final.
                    match self.task.clone().total_timeout(left).submit(arguments) {
                        Ok(future) => self.again.push(Again { future: Some(future), ..again }),
                        Err(_) => self.finish(again.nth, again.last),
                    }
                }
                Some(future) => match future.completed_timeout(Duration::ZERO) {
                    Err(_) => self.again.push(again),
                    Ok(completed) => {
                        again.last = Completed::clone(&completed);
                        again.failures += 1;
                        let is_final = stop || again.failures > self.max || !may_run_again(&again.last);
                        if is_final {
                            self.finish(again.nth, again.last);
                        } else {
                            failed(again.nth, &again.last.log);
                            (again.due, again.future) = (now + delay(again.failures), None);
                            self.again.push(again);
                        }
                    }
                },
            }
        }
    }

    /// A result is final.
    fn finish(&mut self, nth: u64, completed: Completed) {
        self.arguments.remove(&nth);
        self.bytes += size(&completed);
        match self.held.binary_search_by_key(&nth, |(nth, _)| *nth) {
            Ok(index) if self.ordered => self.held[index].1 = Some(completed),
            _ => self.held.push_back((nth, Some(completed))),
        }
    }

    /// Returns the next result for the output, with the index of its task.
    pub(crate) fn next(&mut self) -> Option<(u64, Completed)> {
        let (nth, completed) = self.held.pop_front_if(|(_, completed)| completed.is_some())?;
        let completed = completed?;
        self.bytes -= size(&completed);
        Some((nth, completed))
    }
}

/// The bytes of a result and its log.
fn size(completed: &Completed) -> usize {
    completed.result.as_ref().map_or(0, Vec::len) + completed.log.bytes().len()
}

/// The time before the next run of a task of which `failures` runs have failed.
fn delay(failures: u32) -> Duration {
    FIRST_DELAY.saturating_mul(1 << (failures - 1).min(16)).min(LONGEST_DELAY)
}

/// Whether a task has failed in a way that another run may mend: its arguments fit, and nobody has ended it.
fn may_run_again(completed: &Completed) -> bool {
    match &completed.result {
        Ok(_) => false,
        Err(error) => !matches!(
            error,
            TaskError::BadArguments { .. }
                | TaskError::Cancelled
                | TaskError::Killed
                | TaskError::PoolClosed
                | TaskError::MapEnded { .. }
                | TaskError::Timeout { clock: Clock::Total, .. }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_before_a_run_doubles_up_to_a_bound() {
        let delays: Vec<u128> = [1, 2, 3, 7, 8, 100].map(|failures| delay(failures).as_millis()).into();
        assert_eq!(delays, [100, 200, 400, 6400, 10_000, 10_000]);
    }
}
