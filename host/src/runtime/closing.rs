//! How a pool ends: closed with its maps or after them, finished, or given up.

use std::time::Instant;

use super::completed::Completed;
use super::effects::Delivery;
use super::jobs::Job;
use super::state::{Lifecycle, State};
use crate::dispatch::Event;
use crate::error::TaskError;

impl State {
    pub(super) fn is_finished(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Finished(_))
    }

    /// Takes no more tasks but those of maps that are open.
    pub(super) fn close(&mut self, by: &'static str) {
        if self.lifecycle == Lifecycle::Open {
            self.lifecycle = Lifecycle::Closed(by);
        }
        self.effects.wake_driver = true;
        self.close_after_maps();
    }

    /// Takes no more tasks, and no more inputs of maps.
    pub(super) fn close_with_maps(&mut self, by: &'static str) {
        let ended = self.jobs.end_maps();
        self.effects.deliveries.extend(ended.into_iter().map(Delivery::EndMap));
        self.close(by);
    }

    /// Tells the dispatcher that the pool is closed, when no map can have more inputs.
    pub(super) fn close_after_maps(&mut self) {
        if self.lifecycle != Lifecycle::Open && !self.jobs.any_incomplete_map() {
            self.handle(Event::Close, Instant::now());
        }
    }

    /// Whether a closed pool has nothing to do but to wait for the readers of maps.
    pub(super) fn rests_for_maps(&self) -> bool {
        let (_, in_flight) = self.dispatcher.counts();
        let held = self.dispatcher.held();
        self.lifecycle != Lifecycle::Open
            && in_flight == 0
            && self.dispatcher.queued() == held
            && (held > 0 || self.jobs.any_incomplete_map())
    }

    /// Every task has ended, and every worker is gone.
    pub(super) fn finish(&mut self) {
        self.lifecycle = Lifecycle::Finished(self.lifecycle.closed_by().unwrap_or_default());
    }

    /// Fails every task that has not ended, and kills the workers: the pool cannot go on.
    pub(super) fn abort(&mut self) {
        self.close("a bug in wpool");
        self.links.clear();
        for cell in std::mem::take(&mut self.emits).into_values() {
            self.effects.wake(cell.end());
        }
        for job in self.jobs.drain() {
            match job {
                Job::Single { future, .. } => {
                    self.effects.deliver(Delivery::Future(future, Completed::failed(TaskError::PoolClosed)));
                }
                Job::Map(map) => self.effects.deliver(Delivery::AbortMap(map.cell)),
                Job::SubTask { .. } => {}
            }
        }
    }
}
