//! [`Pool`]: worker processes that run the tasks of one guest, or of several.

use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
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
use crate::runtime::{PoolGuest, Runtime, Stats};

/// Worker processes that run one guest's tasks.
///
/// Dropping a pool drains it: everything that was submitted ends as it would, the workers exit, and
/// nobody is left behind. During a panic it is terminated instead.
pub struct Pool {
    runtime: Arc<Runtime>,
    /// The guest that it was built with.
    guest: Arc<PoolGuest>,
    driver: Mutex<Option<JoinHandle<()>>>,
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
        if let Some(by) = self.runtime.closed_by() {
            return Err(BuildError::Closed { by });
        }
        let guest = self.runtime.add_guest(settings.prepare(guest)?);
        Ok(LoadedGuest { runtime: Arc::clone(&self.runtime), guest })
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
        RawTask::new(&self.runtime, &self.guest, name)
    }

    /// From now on there are at most so many workers. Those that are too many end what they have and go.
    ///
    /// # Errors
    /// If it is zero, or more than 4096.
    pub fn resize(&self, workers: usize) -> Result<(), SettingError> {
        let (_, max) = check_workers(Some(0), workers)?;
        self.runtime.tell(Event::Resize { max });
        Ok(())
    }

    /// Makes objects that this pool's tasks and the host share: queues, locks, dictionaries and so on.
    pub fn manager(&self) -> Manager {
        Manager::new(&self.runtime)
    }

    /// The pool's numbers at this moment.
    pub fn stats(&self) -> Stats {
        self.runtime.stats()
    }

    /// The numbers of the worker processes that are there now.
    pub fn worker_pids(&self) -> Vec<u32> {
        self.runtime.pids()
    }

    /// Takes no more tasks. Those that were submitted end as they would, and then the workers exit.
    pub fn close(&self) {
        self.runtime.close("`close`");
    }

    /// Closes the pool, and with `cancel_pending` cancels what has not begun. With `wait` it returns when everything
    /// has ended, else at once.
    pub fn shutdown(&self, wait: bool, cancel_pending: bool) {
        self.runtime.close("`shutdown`");
        if cancel_pending {
            self.runtime.tell(Event::CancelPending);
        }
        if wait {
            // It is closed, so this cannot fail.
            let _closed = self.join();
        }
    }

    /// Closes the pool and waits until everything has ended, at most so long; what has not ended by then is ended as
    /// [`terminate`](Self::terminate) does. True if everything ended by itself.
    pub fn drain(&self, time: Duration) -> bool {
        self.runtime.close("`drain`");
        let finished = self.runtime.wait_finished(time);
        if !finished {
            self.runtime.terminate();
        }
        // It is closed, so this cannot fail.
        let _closed = self.join();
        finished
    }

    /// Ends everything now: tasks that have not ended fail with
    /// [`TaskError::PoolClosed`](crate::TaskError::PoolClosed), and the workers are killed.
    pub fn terminate(&self) {
        self.runtime.terminate();
    }

    /// Waits until all tasks have ended, all workers are gone and all callbacks have been called.
    ///
    /// # Errors
    /// [`StillOpen`] unless the pool was closed or terminated before.
    pub fn join(&self) -> Result<(), StillOpen> {
        if self.runtime.closed_by().is_none() {
            return Err(StillOpen);
        }
        let mut driver = self.driver.lock();
        if let Some(handle) = driver.take()
            && handle.thread().id() != std::thread::current().id()
            && handle.join().is_err()
        {
            tracing::error!("the pool's driver panicked");
        }
        self.runtime.finish_callbacks();
        Ok(())
    }
}

/// A guest that a pool has [taken in](Pool::load) beside the one that it was built with. Dropping it changes
/// nothing.
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
        RawTask::new(&self.runtime, &self.guest, name)
    }

    /// Takes no more tasks of this guest; new ones fail with
    /// [`TaskError::GuestUnloaded`](crate::TaskError::GuestUnloaded). Those that were submitted end as they would,
    /// and then its workers go. Once is enough.
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
            self.runtime.terminate();
        } else {
            self.runtime.close("drop");
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
