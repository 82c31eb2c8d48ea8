//! [`Canceller`]: ends a map early, from any thread.

use std::fmt;
use std::sync::{Arc, Weak};

use crate::ids::JobId;
use crate::runtime::cell::map::MapCell;
use crate::runtime::{MapStop, Runtime, StoppedBy};

/// Ends a map early: no more inputs are pulled, and tasks that have not started are cancelled. Running tasks continue
/// to run, and every input that was pulled still gets its result. Made by [`Map::canceller`](crate::Map::canceller).
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// let squares = pool.task::<i64, i64>("square")?.map(0..);
/// let canceller = squares.canceller();
/// std::thread::spawn(move || {
///     std::thread::sleep(std::time::Duration::from_secs(1));
///     canceller.cancel();
/// });
/// println!("{} squares in a second", squares.filter(Result::is_ok).count());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Canceller {
    runtime: Weak<Runtime>,
    job: JobId,
    stop: Arc<MapStop>,
    cell: Arc<MapCell>,
}

impl Canceller {
    pub(super) fn new(runtime: &Arc<Runtime>, job: JobId, stop: &Arc<MapStop>, cell: &Arc<MapCell>) -> Self {
        Self { runtime: Arc::downgrade(runtime), job, stop: Arc::clone(stop), cell: Arc::clone(cell) }
    }

    /// Ends the map. A second call has no effect.
    pub fn cancel(&self) {
        if self.stop.stop(StoppedBy::Canceller)
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
