//! [`Canceller`]: ends a map early, from any thread.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::ids::JobId;
use crate::runtime::Runtime;
use crate::runtime::cell::map::MapCell;

/// Ends a map early: no more inputs are pulled, and tasks that have not started are cancelled. Running tasks continue
/// to run, and every input that was pulled still gets its result. Made by [`Map::canceller`](crate::Map::canceller).
#[derive(Clone)]
pub struct Canceller {
    runtime: Weak<Runtime>,
    job: JobId,
    stopped: Arc<AtomicBool>,
    cell: Arc<MapCell>,
}

impl Canceller {
    pub(super) fn new(
        runtime: &Arc<Runtime>,
        job: JobId,
        stopped: &Arc<AtomicBool>,
        cell: &Arc<MapCell>,
    ) -> Self {
        Self { runtime: Arc::downgrade(runtime), job, stopped: Arc::clone(stopped), cell: Arc::clone(cell) }
    }

    /// Ends the map. A second call has no effect.
    pub fn cancel(&self) {
        if !self.stopped.swap(true, Ordering::Relaxed)
            && let Some(runtime) = self.runtime.upgrade()
        {
            runtime.finish_map(self.job, true);
            // The map's reader may wait for an input, of which there are no more.
            self.cell.nudge();
        }
    }
}

impl fmt::Debug for Canceller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Canceller").finish_non_exhaustive()
    }
}
