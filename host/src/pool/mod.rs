//! The public face of a pool.
//!
//! ```text
//!  caller threads        | parent: dispatcher + driver                | worker: one process per place
//!                        |                                            |
//!  submit --- Submitted -+-> queue -> Dispatcher --- Send ------------+-> serve loop -> Store + Instance
//!  TaskFuture <- settle -+--------- handle(event, now) <- Done -------+-- outcome (value | error | trap | limit)
//!  cancel --- Cancel ----+->           ^      |                       |
//!                        | WorkerExited|      +- Spawn / Stop / Kill -+-> exec / end of the stream / SIGKILL
//!                        | Tick -------+                              |
//! ```
//!
//! A caller encodes its arguments, takes the lock, and runs the dispatcher itself; if a worker is idle, it
//! writes to that worker's socket. The driver's thread starts workers, reads their sockets, sees them end
//! and keeps the time; whatever it learns goes through the same dispatcher. A worker knows nothing of the
//! pool: it runs what it is sent, one task at a time, each in an instance of its own.

mod builder;
mod callbacks;
mod core;
mod driver;
mod future;
mod lead;
mod map;
mod task;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_schema::Schema;

pub use self::builder::PoolBuilder;
pub use self::core::Stats;
pub use self::future::{Completed, Figures, NotYet, TaskFuture, TaskLog, Undecoded};
pub use self::map::{Canceller, Map, RawMap};
pub use self::task::{RawTask, Task};

use self::core::Shared;
use crate::error::TaskLookupError;
use crate::guest::Guest;

/// Worker processes that run one guest's tasks.
///
/// Dropping a pool drains it: everything that was submitted ends as it would, the workers exit, and
/// nobody is left behind. During a panic it is terminated instead.
pub struct Pool {
    shared: Arc<Shared>,
    driver: Mutex<Option<JoinHandle<()>>>,
}

/// `join` was called on a pool that still takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool still takes tasks: call `close` or `terminate` before `join`")]
pub struct StillOpen;

impl Pool {
    /// A pool of this guest, to be set up and built.
    pub fn builder(guest: Guest) -> PoolBuilder {
        PoolBuilder::new(guest)
    }

    fn new(shared: Arc<Shared>, driver: JoinHandle<()>) -> Self {
        Self { shared, driver: Mutex::new(Some(driver)) }
    }

    /// The guest whose tasks this pool runs.
    pub fn guest(&self) -> &Guest {
        &self.shared.guest
    }

    /// A handle on a task that takes `A` and returns `R`. `A` is the parameter itself if the task has one, a
    /// tuple if it has several, `()` if it has none.
    ///
    /// # Errors
    /// If the guest has no such task, or its description has other types. Nothing runs for that.
    pub fn task<A: Serialize + Schema, R: DeserializeOwned + Schema>(
        &self,
        name: &str,
    ) -> Result<Task<A, R>, TaskLookupError> {
        Task::new(self.raw_task(name)?)
    }

    /// A handle on a task whose arguments and results are bytes in postcard.
    ///
    /// # Errors
    /// If the guest has no such task.
    pub fn raw_task(&self, name: &str) -> Result<RawTask, TaskLookupError> {
        Ok(RawTask::new(&self.shared, self.shared.guest.number_of(name)?))
    }

    /// The pool's numbers at this moment.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// Takes no more tasks. Those that were submitted end as they would, and then the workers exit.
    pub fn close(&self) {
        self.shared.close("`close`");
    }

    /// Ends everything now: tasks that have not ended fail with
    /// [`TaskError::PoolClosed`](crate::TaskError::PoolClosed), and the workers are killed.
    pub fn terminate(&self) {
        self.shared.terminate();
    }

    /// Waits until all tasks have ended, all workers are gone and all callbacks have been called.
    ///
    /// # Errors
    /// [`StillOpen`] unless the pool was closed or terminated before.
    pub fn join(&self) -> Result<(), StillOpen> {
        if !self.shared.is_closed() {
            return Err(StillOpen);
        }
        let mut driver = self.driver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = driver.take()
            && handle.thread().id() != std::thread::current().id()
            && handle.join().is_err()
        {
            tracing::error!("the pool's driver panicked");
        }
        self.shared.callbacks().finish();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.shared.terminate();
        } else {
            self.shared.close("drop");
        }
        // It is closed, so this cannot fail.
        let _closed = self.join();
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("guest", self.guest())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}
