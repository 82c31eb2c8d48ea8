//! [`Process`]: one task in a process of its own, as Python's `multiprocessing.Process` runs a function.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::{Context, Poll};
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

/// A process that runs one task of a guest and exits.
///
/// It is killed when this program ends, however that happens. Dropping this handle waits until the process has ended,
/// or ends it if it is a [daemon](ProcessBuilder::daemon).
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
    name: Box<str>,
    pid: Option<u32>,
    daemon: bool,
    /// The number of the signal that was sent last; zero if none was.
    last_signal: AtomicI32,
}

/// The settings of a [`Process`], and its start.
#[derive(Debug, Clone)]
pub struct ProcessBuilder {
    guest: Guest,
    settings: GuestSettings,
    name: Option<String>,
    daemon: bool,
}

impl Process<()> {
    /// Returns the builder of a process that runs a task of `guest`.
    pub fn builder(guest: Guest) -> ProcessBuilder {
        ProcessBuilder { guest, settings: GuestSettings::new().timeout(None), name: None, daemon: false }
    }
}

impl ProcessBuilder {
    /// The settings of the task. Default: those of [`GuestSettings`], without a timeout. The task is never retried.
    #[must_use]
    pub fn settings(mut self, settings: GuestSettings) -> Self {
        self.settings = settings;
        self
    }

    /// The name of the process, for messages. Default: the name of its task.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Whether dropping the handle ends the process instead of waiting for its end. Default: false.
    #[must_use]
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.daemon = daemon;
        self
    }

    /// Starts the process with `task`, and returns without waiting for the task. The arguments may hold handles of any
    /// [`Manager`](crate::Manager).
    ///
    /// ```no_run
    /// use wpool::{Manager, Process, Queue};
    /// # let guest = wpool::Guest::from_file("guest.wasm")?;
    /// let queue: Queue<u32> = Manager::new().queue(10);
    /// let producer = Process::builder(guest.clone()).start::<_, ()>("produce", &queue)?;
    /// let consumer = Process::builder(guest).name("consumer").daemon(true).start::<_, ()>("consume", &queue)?;
    /// println!("{:?} and {:?}", producer.pid(), consumer.pid());
    /// assert!(producer.join(None));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// If the guest has no such task or it has other types, if a setting makes no sense, if the guest's initializer
    /// fails, or if the system refuses.
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
        let pid = pool.runtime().wait_first_pid();
        let name = self.name.unwrap_or_else(|| task.to_owned()).into_boxed_str();
        Ok(Process { pool, future, name, pid, daemon: self.daemon, last_signal: AtomicI32::new(0) })
    }
}

/// The process has not ended, so its handle cannot be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the process is still running: `join` or `terminate` it before `close`")]
pub struct StillRunning;

impl<R> Process<R> {
    /// The name of the process: its [own](ProcessBuilder::name), or that of its task.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process id, also after its end; `None` if the system did not start the process, which is then the task's
    /// error.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Whether dropping this handle ends the process.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }

    /// A descriptor that is readable when the process has ended, for a poll together with other descriptors.
    pub fn sentinel(&self) -> BorrowedFd<'_> {
        self.pool.runtime().sentinel()
    }

    /// Whether the process has not ended.
    pub fn is_alive(&self) -> bool {
        !self.pool.runtime().wait_finished(Duration::ZERO)
    }

    /// Waits for the end of the process, at most for `timeout`. Returns whether it has ended. `None` is no limit; zero
    /// looks without waiting.
    pub fn join(&self, timeout: impl Into<Option<Duration>>) -> bool {
        match timeout.into() {
            Some(timeout) => self.pool.runtime().wait_finished(timeout),
            None => {
                // The pool is closed, so this cannot fail.
                let _closed = self.pool.join();
                true
            }
        }
    }

    /// The exit code: 0 if the task returned a value, that of the guest if it called `wpool_guest::exit`, 1 if the task
    /// failed, and `-n` if signal `n` ended the process. If the process exited before its task had ended, this is its own
    /// exit code. `None` while it has not ended.
    pub fn exit_code(&self) -> Option<i32> {
        if self.is_alive() {
            return None;
        }
        Some(match &self.completed().result {
            Ok(_) => 0,
            Err(TaskError::Exited { code }) => *code,
            Err(TaskError::WorkerLost { cause: WorkerExit::Code(code), .. }) => *code,
            Err(TaskError::WorkerLost { cause: WorkerExit::Signal { signal, .. }, .. }) => -signal,
            // The process was ended before its task had started.
            Err(TaskError::Cancelled) => -self.last_signal.load(Ordering::Relaxed),
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
        self.last_signal.store(signal.as_raw(), Ordering::Relaxed);
        // A task that has not begun never needs to. After this no other process can begin it.
        self.future.cancel();
        self.pool.runtime().signal(signal);
    }

    /// Waits for the end of the task, and returns its value's bytes or its error, its figures and its log.
    pub fn completed(&self) -> Arc<Completed> {
        self.future.completed()
    }

    /// Releases the handle of a process that has ended.
    ///
    /// # Errors
    /// [`StillRunning`] and the handle, if the process has not ended. It continues to run.
    pub fn close(self) -> Result<(), (StillRunning, Self)> {
        if self.is_alive() { Err((StillRunning, self)) } else { Ok(()) }
    }
}

impl<R: DeserializeOwned + Schema> Process<R> {
    /// Waits for the end of the task, and returns its value.
    ///
    /// # Errors
    /// The error of the task.
    pub fn result(&self) -> Result<R, TaskError> {
        self.future.result()
    }

    /// The future of the task, to be [awaited](TaskFuture) or given to [`wait`](crate::wait).
    pub fn future(&self) -> &TaskFuture<R> {
        &self.future
    }
}

/// The [sentinel](Process::sentinel).
impl<R> AsFd for Process<R> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sentinel()
    }
}

/// Resolves to what [`result`](Process::result) returns; `(&mut process).await` keeps the handle.
impl<R: DeserializeOwned + Schema> Future for Process<R> {
    type Output = Result<R, TaskError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.future).poll(context)
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
        f.debug_struct("Process")
            .field("name", &self.name)
            .field("pid", &self.pid)
            .field("exit_code", &code)
            .finish_non_exhaustive()
    }
}
