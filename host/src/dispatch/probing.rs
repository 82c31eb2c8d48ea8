//! Looks at busy workers: for a task that does not end, a worker that begins none, and memory that grows.

use std::time::{Duration, Instant};

use super::event::{Action, Probe};
use super::expiry::GRACE;
use super::range::Range;
use super::state::Dispatcher;
use crate::ids::WorkerId;

/// The least and the greatest time between two probes of busy workers.
pub(super) const PROBE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

impl Dispatcher {
    /// Schedules the next probe if a worker has a task with a limit, or its memory has one.
    pub(super) fn schedule_probe(&mut self, now: Instant) {
        if self.deadlines.next_probe.is_some() {
            return;
        }
        let waits = self.ready().filter_map(|(_, state)| {
            let run = state.flight.ranges().filter_map(|range| range.policy.run_timeout).min();
            let by_timeout = run.map(|run| (run / 4).clamp(PROBE.0, PROBE.1));
            let by_memory = (state.flight.len() > 0 && self.watches_memory()).then_some(PROBE.0);
            by_timeout.into_iter().chain(by_memory).min()
        });
        self.deadlines.next_probe = waits.min().map(|wait| now + wait);
    }

    pub(super) fn probe(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.deadlines.next_probe.is_some_and(|at| at <= now) {
            self.deadlines.next_probe = None;
            let busy = self.ready().filter(|(_, state)| state.flight.len() > 0);
            actions.extend(busy.map(|(index, _)| Action::Probe(self.worker_id(index))));
        }
    }

    pub(super) fn probed(&mut self, worker: WorkerId, seen: Probe, now: Instant, actions: &mut Vec<Action>) {
        let max_memory = self.settings.max_memory;
        let Some(state) = self.ready_mut(worker) else { return };
        state.retiring |= seen.resident.zip(max_memory).is_some_and(|(resident, max)| resident > max);
        let running = seen.running.filter(|task| state.flight.claim_of(*task).is_some());
        if running.is_none() && seen.waits {
            state.slice = None;
            return;
        }
        let limit_of = |range: &Range| Some(range.policy.run_timeout?.saturating_add(range.policy.grace));
        let limit = match running {
            Some(task) => state.flight.range_of(task).and_then(limit_of),
            // A task may sleep, or be about to begin: none takes longer than the longest of them all.
            None => state.flight.ranges().map(limit_of).reduce(|a, b| Some(a?.max(b?))).flatten(),
        };
        let limit = limit.map(|limit| limit.saturating_add(GRACE));
        match state.slice {
            Some((slice, since)) if slice == seen.slice => {
                if limit.is_some_and(|limit| now.saturating_duration_since(since) >= limit) {
                    self.kill_worker(worker, running.or(seen.asleep), actions);
                }
            }
            _ => state.slice = Some((seen.slice, now)),
        }
    }
}
