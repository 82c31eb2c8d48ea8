//! [`Process`]: one task in a process of its own, as Python's `multiprocessing.Process` runs a function.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use wpool_schema::Schema;

use super::future::TaskFuture;
use super::pool::Pool;
use super::settings::GuestSettings;
use crate::error::{ProcessError, TaskError, WorkerExit};
use crate::guest::Guest;
use crate::runtime::Completed;

/// A process that runs one task of a guest and ends.
///
/// It dies with this program, whatever happens. Dropping it waits for its end, or ends it if it is a
/// [daemon](ProcessBuilder::daemon).
///
/// ```no_run
/// # let guest = wpool::Guest::from_file("guest.wasm")?;
/// let cube = wpool::Process::builder(guest).start::<i64, i64>("cube", &3)?;
/// assert!(cube.join(None));
/// assert_eq!(cube.exit_code(), Some(0));
/// assert_eq!(cube.result()?, 27);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Process<R> {
    pool: Pool,
    future: TaskFuture<R>,
    name: String,
    daemon: bool,
    /// The last signal that was sent; zero if none was.
    sent: AtomicI32,
}

/// What a [`Process`] is set to.
#[derive(Debug, Clone)]
pub struct ProcessBuilder {
    guest: Guest,
    settings: GuestSettings,
    daemon: bool,
}

impl Process<()> {
    /// A process for a task of this guest, to be set up and started.
    pub fn builder(guest: Guest) -> ProcessBuilder {
        ProcessBuilder { guest, settings: GuestSettings::new().timeout(None), daemon: false }
    }
}

impl ProcessBuilder {
    /// The limits and what else holds for the task. Default: those of [`GuestSettings`], without a timeout.
    #[must_use]
    pub fn settings(mut self, settings: GuestSettings) -> Self {
        self.settings = settings;
        self
    }

    /// Whether the process is ended when its handle is dropped; else it is waited for. Default: it is waited for.
    #[must_use]
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Starts the process. It is not waited for.
    ///
    /// # Errors
    /// If the guest has no such task, or one of other types; if a setting makes no sense or the system refuses.
    pub fn start<A: Serialize + Schema, R: DeserializeOwned + Schema>(
        self,
        task: &str,
        arguments: &A,
    ) -> Result<Process<R>, ProcessError> {
        let settings = self.settings.retries(0);
        let pool = Pool::builder(self.guest)
            .guest_settings(settings)
            .workers(1)
            .min_workers(0)
            .max_tasks_per_worker(1)
            .build()?;
        let future = pool.task::<A, R>(task)?.submit(arguments)?;
        pool.close();
        Ok(Process { pool, future, name: task.to_owned(), daemon: self.daemon, sent: AtomicI32::new(0) })
    }
}

/// The process has not ended, so its handle cannot be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the process is still running: `join` or `terminate` it before `close`")]
pub struct StillRunning;

impl<R> Process<R> {
    /// The name of the task that it runs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The number of the process; none before it has started and after it has ended.
    pub fn pid(&self) -> Option<u32> {
        self.pool.runtime().pids().first().copied()
    }

    /// Whether the process has not ended.
    pub fn is_alive(&self) -> bool {
        !self.pool.runtime().wait_finished(Duration::ZERO)
    }

    /// Waits for the end of the process, at most so long; `None` is for ever, zero looks without waiting. False if
    /// it has not ended.
    pub fn join(&self, timeout: impl Into<Option<Duration>>) -> bool {
        match timeout.into() {
            Some(timeout) => self.pool.runtime().wait_finished(timeout),
            None => {
                // It is closed, so this cannot fail.
                let _closed = self.pool.join();
                true
            }
        }
    }

    /// How the process ended: zero if the task returned a value, one if it failed, minus the number of the signal
    /// that ended the process. None while it has not ended.
    pub fn exit_code(&self) -> Option<i32> {
        if self.is_alive() {
            return None;
        }
        Some(match &self.completed().result {
            Ok(_) => 0,
            Err(TaskError::WorkerLost { cause: WorkerExit::Code(code), .. }) => *code,
            Err(TaskError::WorkerLost { cause: WorkerExit::Signal { signal, .. }, .. }) => -signal,
            // It was ended before it had begun.
            Err(TaskError::Cancelled) => -self.sent.load(Ordering::Relaxed),
            Err(_) => 1,
        })
    }

    /// Ends the process with SIGTERM, if it has not ended.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the process with SIGKILL, if it has not ended.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        self.sent.store(signal.as_raw(), Ordering::Relaxed);
        self.pool.runtime().signal(signal);
        // If it has not begun yet, now it need not.
        self.future.cancel();
    }

    /// How the task ended, with its bytes, figures and log. Waits for that.
    pub fn completed(&self) -> Arc<Completed> {
        self.future.completed()
    }

    /// Lets go of a process that has ended.
    ///
    /// # Errors
    /// [`StillRunning`] if it has not ended, with the handle, which goes on as before.
    pub fn close(self) -> Result<(), (StillRunning, Self)> {
        if self.is_alive() { Err((StillRunning, self)) } else { Ok(()) }
    }
}

impl<R: DeserializeOwned> Process<R> {
    /// Waits for the end of the task, and returns its value.
    ///
    /// # Errors
    /// Why it has none.
    pub fn result(&self) -> Result<R, TaskError> {
        self.future.result()
    }
}

/// The sentinel: it can be read when the process has ended, so it can be waited for together with other descriptors.
impl<R> AsFd for Process<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pool.runtime().sentinel()
    }
}

impl<R> Drop for Process<R> {
    fn drop(&mut self) {
        if self.daemon {
            self.pool.terminate();
        }
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.exit_code();
        f.debug_struct("Process").field("name", &self.name).field("exit_code", &code).finish_non_exhaustive()
    }
}
