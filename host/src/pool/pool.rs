//! [`Pool`]: worker processes that run the tasks of one guest, or of several.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::objects::manager::Manager;
use super::raw_task::RawTask;
use super::settings::{GuestSettings, check_workers};
use super::task::Task;
use crate::dispatch::Event;
use crate::error::{BuildError, SettingError, TaskLookupError};
use crate::guest::Guest;
use crate::lock::Mutex;
use crate::runtime::{PoolGuest, Runtime, Stats};

/// A pool of worker processes, which run the tasks of one guest or of several.
///
/// Dropping a pool closes it and waits: submitted tasks run to their ends, and then the workers exit. Only a map that has not
/// pulled all its inputs yet keeps its workers, until it is at its end or dropped. During a panic the pool is
/// [terminated](Self::terminate) instead.
pub struct Pool {
    runtime: Arc<Runtime>,
    /// The guest that the pool was built with.
    guest: Arc<PoolGuest>,
    driver: Mutex<Option<JoinHandle<()>>>,
}

/// Whether a [`shutdown`](Pool::shutdown) waits for the pool's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// It returns when the pool has ended.
    Join,
    /// It returns at once.
    Return,
}

/// The fate of tasks that have not started when a pool [shuts down](Pool::shutdown).
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// # let pool = wpool::Pool::builder(guest).build()?;
/// pool.shutdown(wpool::Wait::Join, wpool::PendingTasks::Cancel);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PendingTasks {
    /// They run to their ends, and maps that are open get all their inputs.
    Finish,
    /// They are cancelled, and maps that are open end.
    Cancel,
}

/// `join` was called on a pool that still takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pool still takes tasks: call `close` or `terminate` before `join`")]
pub struct StillOpen;

impl Pool {
    pub(super) fn new(runtime: Arc<Runtime>, guest: Arc<PoolGuest>, driver: JoinHandle<()>) -> Self {
        Self { runtime, guest, driver: Mutex::new(Some(driver)) }
    }

    pub(super) fn runtime(&self) -> &Arc<Runtime> {
        &self.runtime
    }

    /// The guest that this pool was built with.
    pub fn guest(&self) -> &Guest {
        &self.guest.guest
    }

    /// Adds another guest, whose tasks share the pool's worker processes with those of its other guests. A worker
    /// serves one guest; idle workers of other guests exit to make room. While several guests have work, each gets its
    /// share of the time, by its [weight](GuestSettings::weight).
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
        let closed = |by| BuildError::Closed { by };
        if let Some(by) = self.runtime.closed_by() {
            return Err(closed(by));
        }
        let guest = self.runtime.add_guest(settings.prepare(guest)?).map_err(closed)?;
        Ok(LoadedGuest { runtime: Arc::clone(&self.runtime), guest })
    }

    /// A handle on a task that takes `A` and returns `R`. `A` is the parameter itself if the task has one, a
    /// tuple if it has several, `()` if it has none.
    ///
    /// # Errors
    /// If the guest has no such task, or its description has other types. The check runs no guest code.
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
        RawTask::new(&self.runtime, &self.guest, name)
    }

    /// Sets the maximum number of workers. Surplus workers finish the tasks that they have, and exit.
    ///
    /// # Errors
    /// If `workers` is zero, or more than 4096.
    pub fn resize(&self, workers: usize) -> Result<(), SettingError> {
        let (_, max) = check_workers(Some(0), workers)?;
        self.runtime.tell(Event::Resize { max });
        Ok(())
    }

    /// Returns the manager, which makes objects that the pool's tasks and the host share: queues, locks, dictionaries
    /// and so on.
    pub fn manager(&self) -> Manager {
        Manager::of(self.runtime.objects())
    }

    /// The pool's counters at this moment.
    pub fn stats(&self) -> Stats {
        self.runtime.stats()
    }

    /// The process ids of the pool's workers at this moment.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.runtime.pids()
    }

    /// Closes the pool: it takes no more tasks. Submitted tasks run to their ends, maps that are open still get all their
    /// inputs, and then the workers exit. Returns at once.
    pub fn close(&self) {
        self.runtime.close("`close`");
    }

    /// Closes the pool as Python's `Executor.shutdown` does. `pending` says what becomes of tasks that have not started and of
    /// maps that are open; with [`Wait::Join`] it returns as [`join`](Self::join) does, with [`Wait::Return`] at once.
    ///
    /// ```no_run
    /// use wpool::{PendingTasks, Wait};
    /// # let pool = wpool::Pool::builder(wpool::Guest::from_file("guest.wasm")?).build()?;
    /// pool.shutdown(Wait::Join, PendingTasks::Cancel);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn shutdown(&self, wait: Wait, pending: PendingTasks) {
        match pending {
            PendingTasks::Finish => self.runtime.close("`shutdown`"),
            PendingTasks::Cancel => self.runtime.close_and_cancel("`shutdown`"),
        }
        if wait == Wait::Join {
            // The pool is closed, so this cannot fail.
            let _closed = self.join();
        }
    }

    /// Closes the pool and waits at most for `time` until all tasks have ended and all workers have exited; then
    /// [terminates](Self::terminate) what is left. Returns whether everything ended in time. Zero terminates at once.
    pub fn drain(&self, time: Duration) -> bool {
        self.runtime.close("`drain`");
        let finished = self.runtime.wait_finished(time);
        if !finished {
            self.runtime.terminate("`drain`");
        }
        // The pool is closed, so this cannot fail.
        let _closed = self.join();
        finished
    }

    /// Closes the pool and ends everything now: tasks that have not ended fail with
    /// [`TaskError::PoolClosed`](crate::TaskError::PoolClosed), and the workers are killed.
    pub fn terminate(&self) {
        self.runtime.terminate("`terminate`");
    }

    /// Waits until all tasks have ended, all workers have exited and all callbacks have run. A [`Map`](crate::Map) that is open
    /// and has not pulled all its inputs is not waited for, as this thread may be its reader: it keeps its workers until it is
    /// at its end or dropped.
    ///
    /// # Errors
    /// [`StillOpen`] unless the pool was closed or terminated before.
    pub fn join(&self) -> Result<(), StillOpen> {
        if self.runtime.closed_by().is_none() {
            return Err(StillOpen);
        }
        if !self.runtime.wait_joined() {
            return Ok(());
        }
        let mut driver = self.driver.lock();
        if let Some(handle) = driver.take()
            && handle.thread().id() != std::thread::current().id()
            && handle.join().is_err()
        {
            tracing::error!("the pool's driver panicked");
        }
        // A callback may join as well, and is waited for here.
        drop(driver);
        self.runtime.finish_callbacks();
        Ok(())
    }
}

/// A guest that was [added](Pool::load) to a pool after it was built. Dropping this handle does not
/// [unload](Self::unload) the guest.
#[derive(Clone)]
pub struct LoadedGuest {
    runtime: Arc<Runtime>,
    guest: Arc<PoolGuest>,
}

impl LoadedGuest {
    /// The guest.
    pub fn guest(&self) -> &Guest {
        &self.guest.guest
    }

    /// A handle on a task of this guest, as [`Pool::task`] makes it.
    ///
    /// # Errors
    /// If the guest has no such task, or its description has other types. The check runs no guest code.
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
        RawTask::new(&self.runtime, &self.guest, name)
    }

    /// Unloads the guest: from now on its new tasks fail with
    /// [`TaskError::GuestUnloaded`](crate::TaskError::GuestUnloaded). Submitted tasks run to their ends, and then the
    /// guest's workers exit. Returns at once; a second call has no effect.
    pub fn unload(&self) {
        self.runtime.tell(Event::Unload(self.guest.key));
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
            self.runtime.terminate("a panic");
        } else {
            self.runtime.close("drop");
        }
        // The pool is closed, so this cannot fail.
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
