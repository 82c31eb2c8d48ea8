//! The public face of a pool.
//!
//! ```text
//!  caller threads        | parent: dispatcher + driver                | worker: one process per place
//!                        |                                            |
//!  submit --- Submitted -+-> queue -> Dispatcher --- Send ------------+-> serve loop -> Store + Instance
//!  TaskFuture <- settle -+--------- handle(event, now) <- Done -------+-- outcome (value | error | trap | limit)
//!  cancel --- Cancel ----+->           ^      |                       |
//!                        |             |      +- answer, credit <-----+-- request: emit, sub-task, shared object
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
mod connection;
mod core;
mod driver;
mod emitted;
mod family;
mod future;
mod gather;
mod handle;
mod hosted;
mod jobs;
mod lead;
mod manager;
mod map;
mod named;
mod objects;
mod rate;
mod ready;
mod requests;
mod solo;
mod table;
mod task;
mod wait;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_schema::Schema;

pub use self::builder::{GuestSettings, PoolBuilder};
pub use self::core::Stats;
pub use self::emitted::{EmitBuffer, EmitError, Emitted};
pub use self::future::{CancelOnDrop, Completed, Figures, NotYet, Status, TaskFuture, TaskLog, Undecoded};
pub use self::gather::{MapError, MapFuture};
pub use self::handle::Handle;
pub use self::manager::{
    Array, Barrier, BoundedSemaphore, Condition, Connection, Dict, Event as EventObject, JoinableQueue, List,
    Lock, LockGuard, Manager, Namespace, Queue, RLock, Receiver, Semaphore, Sender, SharedArray, SharedSlice,
    SimpleQueue, Value,
};
pub use self::map::{Canceller, Map, RawMap};
pub use self::named::{NamedError, NamedObjects, ObjectSpec};
pub use self::ready::{Readable, wait_ready};
pub use self::solo::{Process, ProcessBuilder, StillRunning};
pub use self::task::{RawArguments, RawTask, Task};
pub use self::wait::{AsCompleted, ReturnWhen, Unfinished, Waited, as_completed, wait};

use self::core::Shared;
use self::hosted::Hosted;
use crate::dispatch::Event;
use crate::error::{BuildError, SettingError, TaskLookupError};
use crate::guest::Guest;

/// Worker processes that run one guest's tasks.
///
/// Dropping a pool drains it: everything that was submitted ends as it would, the workers exit, and
/// nobody is left behind. During a panic it is terminated instead.
pub struct Pool {
    shared: Arc<Shared>,
    /// The guest that it was built with.
    home: Arc<Hosted>,
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

    fn new(shared: Arc<Shared>, home: Arc<Hosted>, driver: JoinHandle<()>) -> Self {
        Self { shared, home, driver: Mutex::new(Some(driver)) }
    }

    /// The guest that this pool was built with.
    pub fn guest(&self) -> &Guest {
        &self.home.guest
    }

    /// Takes in another guest, whose tasks share this pool's workers with those of the others: a worker serves one
    /// guest at a time, idle ones of other guests make place, and while several guests have work each gets its
    /// share of the time.
    ///
    /// ```no_run
    /// use wpool::{Guest, GuestSettings};
    /// # let pool = wpool::Pool::builder(Guest::from_file("guest.wasm")?).build()?;
    /// let plugin = pool.load(Guest::from_file("plugin.wasm")?, &GuestSettings::new().memory(16 << 20))?;
    /// let shout = plugin.task::<String, String>("shout")?;
    /// assert_eq!(shout.submit(&"hello".to_owned())?.result()?, "HELLO");
    /// plugin.unload();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If a setting makes no sense, if the guest does not fit its limits, or if the pool is closed.
    pub fn load(&self, guest: Guest, settings: &GuestSettings) -> Result<LoadedGuest, BuildError> {
        if let Some(by) = self.shared.closed_by() {
            return Err(BuildError::Closed { by });
        }
        let hosted = self.shared.host(settings.prepare(guest)?);
        Ok(LoadedGuest { shared: Arc::clone(&self.shared), hosted })
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
        RawTask::new(&self.shared, &self.home, name)
    }

    /// From now on there are at most so many workers. Those that are too many end what they have and go.
    ///
    /// # Errors
    /// If it is zero, or more than 4096.
    pub fn resize(&self, workers: usize) -> Result<(), SettingError> {
        let (_, max) = builder::check_workers(Some(0), workers)?;
        self.shared.tell(Event::Resize { max });
        Ok(())
    }

    /// Makes objects that this pool's tasks and the host share: queues, locks, dictionaries and so on.
    pub fn manager(&self) -> Manager {
        Manager::new(&self.shared)
    }

    /// The pool's numbers at this moment.
    pub fn stats(&self) -> Stats {
        self.shared.stats()
    }

    /// The numbers of the worker processes that are there now.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.shared.pids()
    }

    /// Takes no more tasks. Those that were submitted end as they would, and then the workers exit.
    pub fn close(&self) {
        self.shared.close("`close`");
    }

    /// Closes the pool, and with `cancel_pending` cancels what has not begun. With `wait` it returns when everything
    /// has ended, else at once.
    pub fn shutdown(&self, wait: bool, cancel_pending: bool) {
        self.shared.close("`shutdown`");
        if cancel_pending {
            self.shared.tell(Event::CancelPending);
        }
        if wait {
            // It is closed, so this cannot fail.
            let _closed = self.join();
        }
    }

    /// Closes the pool and waits until everything has ended, at most so long; what has not ended by then is ended as
    /// [`terminate`](Self::terminate) does. True if everything ended by itself.
    pub fn drain(&self, time: Duration) -> bool {
        self.shared.close("`drain`");
        let finished = self.shared.wait_finished(time);
        if !finished {
            self.shared.terminate();
        }
        // It is closed, so this cannot fail.
        let _closed = self.join();
        finished
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

/// A guest that a pool has [taken in](Pool::load) beside the one that it was built with. Dropping it changes
/// nothing.
#[derive(Clone)]
pub struct LoadedGuest {
    shared: Arc<Shared>,
    hosted: Arc<Hosted>,
}

impl LoadedGuest {
    /// The guest.
    pub fn guest(&self) -> &Guest {
        &self.hosted.guest
    }

    /// A handle on a task of this guest, as [`Pool::task`] makes it.
    ///
    /// # Errors
    /// If the guest has no such task, or its description has other types. Nothing runs for that.
    pub fn task<A: Serialize + Schema, R: DeserializeOwned + Schema>(
        &self,
        name: &str,
    ) -> Result<Task<A, R>, TaskLookupError> {
        Task::new(self.raw_task(name)?)
    }

    /// A handle on a task of this guest whose arguments and results are bytes in postcard.
    ///
    /// # Errors
    /// If the guest has no such task.
    pub fn raw_task(&self, name: &str) -> Result<RawTask, TaskLookupError> {
        RawTask::new(&self.shared, &self.hosted, name)
    }

    /// Takes no more tasks of this guest; new ones fail with
    /// [`TaskError::GuestUnloaded`](crate::TaskError::GuestUnloaded). Those that were submitted end as they would,
    /// and then its workers go. Once is enough.
    pub fn unload(&self) {
        self.shared.tell(Event::Unload(self.hosted.key));
    }
}

impl fmt::Debug for LoadedGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedGuest").field("guest", self.guest()).finish_non_exhaustive()
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
